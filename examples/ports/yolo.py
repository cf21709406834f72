"""The neck of YOLOv8: three sizes of features, each of which hears from the others, on the way up and down again.

The names are those of Ultralytics' checkpoints, whose entries are numbered through the whole network, and of which the
neck has those from 9 on: `model.9.cv1.conv.weight`, `model.12.m.0.cv1.bn.running_var`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv.nnx import BatchNorm2d, Conv2d, MaxPool2d, Sequential, Upsample


class Conv(nnx.Module):
    """Convolution, norm, SiLU."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, *, rngs: nnx.Rngs):
        self.conv = Conv2d(c1, c2, k, s, padding=k // 2, bias=False, rngs=rngs)
        self.bn = BatchNorm2d(c2, eps=1e-3, momentum=0.03)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, c1, H, W) → (N, c2, H / s, W / s)."""
        return nnx.silu(self.bn(self.conv(x)))


class Bottleneck(nnx.Module):
    """Two convolutions, without a shortcut in the neck."""

    def __init__(self, c: int, *, rngs: nnx.Rngs):
        self.cv1 = Conv(c, c, 3, rngs=rngs)
        self.cv2 = Conv(c, c, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, c, H, W) → the same."""
        return self.cv2(self.cv1(x))


class C2f(nnx.Module):
    """Two halves of the channels, blocks on the second one, and all of their results joined."""

    def __init__(self, c1: int, c2: int, n: int = 1, *, rngs: nnx.Rngs):
        self.cv1 = Conv(c1, c2, rngs=rngs)
        self.cv2 = Conv((2 + n) * (c2 // 2), c2, rngs=rngs)
        self.m = nnx.List([Bottleneck(c2 // 2, rngs=rngs) for _ in range(n)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, c1, H, W) → (N, c2, H, W)."""
        y = jnp.split(self.cv1(x), 2, axis=1)
        for block in self.m:
            y.append(block(y[-1]))
        return self.cv2(jnp.concatenate(y, axis=1))


class SPPF(nnx.Module):
    """A pool on a pool on a pool, and all of them joined."""

    def __init__(self, c1: int, c2: int, k: int = 5, *, rngs: nnx.Rngs):
        self.cv1 = Conv(c1, c1 // 2, rngs=rngs)
        self.cv2 = Conv(c1 // 2 * 4, c2, rngs=rngs)
        self.m = MaxPool2d(kernel_size=k, stride=1, padding=k // 2)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, c1, H, W) → (N, c2, H, W)."""
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.m(y[-1]))
        return self.cv2(jnp.concatenate(y, axis=1))


class Neck(nnx.Module):
    """Features (N, C3, H, W), (N, C4, H / 2, W / 2) and (N, C5, H / 4, W / 4) → the same."""

    def __init__(self, *, widths: Sequence[int] = (64, 128, 256), n: int = 1, rngs: nnx.Rngs):
        c3, c4, c5 = widths
        # 11, 14, 17 and 20 are the concatenations.
        self.model = Sequential(
            {
                "9": SPPF(c5, c5, rngs=rngs),
                "10": Upsample(None, 2, "nearest"),
                "12": C2f(c5 + c4, c4, n, rngs=rngs),
                "13": Upsample(None, 2, "nearest"),
                "15": C2f(c4 + c3, c3, n, rngs=rngs),
                "16": Conv(c3, c3, 3, 2, rngs=rngs),
                "18": C2f(c3 + c4, c4, n, rngs=rngs),
                "19": Conv(c4, c4, 3, 2, rngs=rngs),
                "21": C2f(c4 + c5, c5, n, rngs=rngs),
            }
        )

    def __call__(self, p3: jax.Array, p4: jax.Array, p5: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What the heads read."""
        sppf, up5, c2f12, up4, c2f15, down3, c2f18, down4, c2f21 = self.model
        p5 = sppf(p5)
        p4 = c2f12(jnp.concatenate([up5(p5), p4], axis=1))
        p3 = c2f15(jnp.concatenate([up4(p4), p3], axis=1))
        p4 = c2f18(jnp.concatenate([down3(p3), p4], axis=1))
        p5 = c2f21(jnp.concatenate([down4(p4), p5], axis=1))
        return p3, p4, p5
