"""ESRGAN: an image four times as high and wide, by blocks of blocks of densely connected convolutions.

    python -m examples.ports.esrgan RealESRGAN_x4plus.safetensors

loads a checkpoint with BasicSR's names: `conv_first.weight`, `body.0.rdb1.conv5.weight`, `conv_last.bias`. `shuffle`
takes the tail of BasicSR's other network, MSRResNet, which makes pixels of channels: `upconv1.weight`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from examples.ports import cli
from jaxconv import interpolate, pixel_unshuffle
from jaxconv.nnx import Conv2d, PixelShuffle, Sequential

lrelu = partial(nnx.leaky_relu, negative_slope=0.2)


class ResidualDenseBlock(nnx.Module):
    """Five convolutions, each of what all before it gave."""

    def __init__(self, num_feat: int, num_grow_ch: int, *, rngs: nnx.Rngs):
        self.conv1 = Conv2d(num_feat, num_grow_ch, 3, 1, 1, rngs=rngs)
        self.conv2 = Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, 1, 1, rngs=rngs)
        self.conv3 = Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, 1, 1, rngs=rngs)
        self.conv4 = Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, 1, 1, rngs=rngs)
        self.conv5 = Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, 1, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, num_feat, H, W) → the same."""
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = jnp.concatenate([features, lrelu(conv(features))], axis=1)
        return self.conv5(features) * 0.2 + x


class RRDB(nnx.Module):
    """Three dense blocks and a shortcut."""

    def __init__(self, num_feat: int, num_grow_ch: int, *, rngs: nnx.Rngs):
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch, rngs=rngs)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch, rngs=rngs)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, num_feat, H, W) → the same."""
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nnx.Module):
    """Images (N, num_in_ch, H, W) → images (N, num_out_ch, scale · H, scale · W), for a scale of 1, 2 or 4."""

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        *,
        scale: int = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        shuffle: bool = False,
        rngs: nnx.Rngs,
    ):
        self.unshuffle = 4 // scale
        self.shuffle = shuffle
        self.conv_first = Conv2d(num_in_ch * self.unshuffle**2, num_feat, 3, 1, 1, rngs=rngs)
        self.body = Sequential(*(RRDB(num_feat, num_grow_ch, rngs=rngs) for _ in range(num_block)))
        self.conv_body = Conv2d(num_feat, num_feat, 3, 1, 1, rngs=rngs)
        if shuffle:
            self.upconv1 = Conv2d(num_feat, num_feat * 4, 3, 1, 1, rngs=rngs)
            self.upconv2 = Conv2d(num_feat, num_feat * 4, 3, 1, 1, rngs=rngs)
            self.pixel_shuffle = PixelShuffle(2)
        else:
            self.conv_up1 = Conv2d(num_feat, num_feat, 3, 1, 1, rngs=rngs)
            self.conv_up2 = Conv2d(num_feat, num_feat, 3, 1, 1, rngs=rngs)
        self.conv_hr = Conv2d(num_feat, num_feat, 3, 1, 1, rngs=rngs)
        self.conv_last = Conv2d(num_feat, num_out_ch, 3, 1, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """The larger image."""
        if self.unshuffle > 1:
            x = pixel_unshuffle(x, self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        if self.shuffle:
            x = lrelu(self.pixel_shuffle(self.upconv1(x)))
            x = lrelu(self.pixel_shuffle(self.upconv2(x)))
        else:
            x = lrelu(self.conv_up1(interpolate(x, scale_factor=2, mode="nearest")))
            x = lrelu(self.conv_up2(interpolate(x, scale_factor=2, mode="nearest")))
        return self.conv_last(lrelu(self.conv_hr(x)))


if __name__ == "__main__":
    cli.main(lambda rngs: RRDBNet(rngs=rngs), (1, 3, 64, 64))
