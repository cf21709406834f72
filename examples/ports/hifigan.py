"""The generator of HiFi-GAN: sound from a spectrogram, by transposed convolutions and dilated ones.

    python -m examples.ports.hifigan generator.safetensors

loads a checkpoint with the names of the paper's code, whose weights are each a direction and a length: those of
`torch.nn.utils.weight_norm` (`conv_pre.weight_g`) or of its successor (`conv_pre.parametrizations.weight.original0`).
"""

from collections.abc import Sequence

import jax
from flax import nnx

from examples.ports import cli
from jaxconv.nnx import Conv1d, ConvTranspose1d, weight_norm


class ResBlock1(nnx.Module):
    """A pair of convolutions for each dilation, the second without one, and a shortcut past each pair."""

    def __init__(self, channels: int, kernel_size: int, dilation: Sequence[int], *, rngs: nnx.Rngs):
        def conv(d: int):
            padding = (kernel_size * d - d) // 2
            return weight_norm(
                Conv1d(channels, channels, kernel_size, stride=1, padding=padding, dilation=d, rngs=rngs)
            )

        self.convs1 = nnx.List([conv(d) for d in dilation])
        self.convs2 = nnx.List([conv(1) for _ in dilation])

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, channels, L) → the same."""
        for c1, c2 in zip(self.convs1, self.convs2, strict=True):
            xt = c1(nnx.leaky_relu(x, 0.1))
            x = c2(nnx.leaky_relu(xt, 0.1)) + x
        return x


class Generator(nnx.Module):
    """Spectrograms (N, mels, L) → sound (N, 1, L · the product of the upsample rates)."""

    def __init__(
        self,
        mels: int = 80,
        *,
        channels: int = 512,
        upsample_rates: Sequence[int] = (8, 8, 2, 2),
        upsample_kernel_sizes: Sequence[int] = (16, 16, 4, 4),
        resblock_kernel_sizes: Sequence[int] = (3, 7, 11),
        dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        rngs: nnx.Rngs,
    ):
        self.num_kernels = len(resblock_kernel_sizes)
        self.conv_pre = weight_norm(Conv1d(mels, channels, 7, 1, padding=3, rngs=rngs))
        self.ups = nnx.List([])
        self.resblocks = nnx.List([])
        for u, k in zip(upsample_rates, upsample_kernel_sizes, strict=True):
            up = ConvTranspose1d(channels, channels // 2, k, u, padding=(k - u) // 2, rngs=rngs)
            self.ups.append(weight_norm(up))
            channels //= 2
            for kernel_size, dilation in zip(resblock_kernel_sizes, dilations, strict=True):
                self.resblocks.append(ResBlock1(channels, kernel_size, dilation, rngs=rngs))
        self.conv_post = weight_norm(Conv1d(channels, 1, 7, 1, padding=3, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Samples between -1 and 1."""
        x = self.conv_pre(x)
        for i, up in enumerate(self.ups):
            x = up(nnx.leaky_relu(x, 0.1))
            first, *rest = list(self.resblocks)[i * self.num_kernels : (i + 1) * self.num_kernels]
            xs = first(x)
            for block in rest:
                xs = xs + block(x)
            x = xs / self.num_kernels
        return nnx.tanh(self.conv_post(nnx.leaky_relu(x)))


if __name__ == "__main__":
    cli.main(lambda rngs: Generator(rngs=rngs), (1, 80, 100))
