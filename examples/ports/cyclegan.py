"""The generator of CycleGAN: one image in the style of another, by residual blocks with instance norm.

    python -m examples.ports.cyclegan latest_net_G.safetensors

loads a checkpoint with the names of the paper's code: `model.1.weight`, `model.10.conv_block.5.bias`. The norms hold
no arrays, so there are only the convolutions' weights.
"""

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import Conv2d, ConvTranspose2d, InstanceNorm2d, ReflectionPad2d, Sequential


class ResnetBlock(nnx.Module):
    """Two convolutions of a mirrored image, and a shortcut."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.conv_block = Sequential(
            ReflectionPad2d(1),
            Conv2d(dim, dim, kernel_size=3, rngs=rngs),
            InstanceNorm2d(dim),
            nnx.relu,
            ReflectionPad2d(1),
            Conv2d(dim, dim, kernel_size=3, rngs=rngs),
            InstanceNorm2d(dim),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, dim, H, W) → the same."""
        return x + self.conv_block(x)


class ResnetGenerator(nnx.Module):
    """Images (N, input_nc, H, W) → images (N, output_nc, H, W), where 4 divides H and W."""

    def __init__(self, input_nc: int = 3, output_nc: int = 3, *, ngf: int = 64, n_blocks: int = 9, rngs: nnx.Rngs):
        model = [ReflectionPad2d(3), Conv2d(input_nc, ngf, kernel_size=7, rngs=rngs), InstanceNorm2d(ngf), nnx.relu]
        for mult in (1, 2):
            model += [
                Conv2d(ngf * mult, ngf * mult * 2, kernel_size=3, stride=2, padding=1, rngs=rngs),
                InstanceNorm2d(ngf * mult * 2),
                nnx.relu,
            ]
        model += [ResnetBlock(ngf * 4, rngs=rngs) for _ in range(n_blocks)]
        for mult in (4, 2):
            half = ngf * mult // 2
            model += [
                ConvTranspose2d(ngf * mult, half, kernel_size=3, stride=2, padding=1, output_padding=1, rngs=rngs),
                InstanceNorm2d(half),
                nnx.relu,
            ]
        model += [ReflectionPad2d(3), Conv2d(ngf, output_nc, kernel_size=7, rngs=rngs), nnx.tanh]
        self.model = Sequential(*model)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The image in the other style, between -1 and 1."""
        return self.model(x)


if __name__ == "__main__":
    cli.main(lambda rngs: ResnetGenerator(rngs=rngs), (1, 3, 256, 256))
