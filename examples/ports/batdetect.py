"""Detects bats with published weights: BatDetect2, on calls made of falling tones.

    python -m examples.ports.batdetect

needs PyTorch, and the package batdetect2 for its file of weights: `pip install --no-deps batdetect2==1.3.1`. The
network is a small U-Net with batch norm over a spectrogram, in which each convolution is told the frequency, and
attention over time stands at the bottom. For every time and frequency it gives the probability of each species.
"""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv import interpolate
from jaxconv.interop import load_state_dict
from jaxconv.nnx import BatchNorm2d, Conv2d, MaxPool2d

RATE = 256_000  # samples a second
WINDOW, STEP = 512, 128  # samples
ROWS = slice(21, 241)  # of a window's frequencies, 500 Hz each: 10.5 to 120 kHz
SPECIES = 17  # and one class more, for what is no bat


class Coords(nnx.Variable):
    """An array that is saved and not trained: PyTorch's parameter with `requires_grad=False`."""


def with_coords(x: jax.Array, coords: nnx.Variable) -> jax.Array:
    """One more channel, which has the height of each pixel."""
    return jnp.concatenate([x, jnp.broadcast_to(coords[...], (len(x), 1, *x.shape[2:]))], axis=1)


class Down(nnx.Module):
    """`ConvBlockDownCoordF`."""

    def __init__(self, in_chn: int, out_chn: int, height: int, *, rngs: nnx.Rngs):
        self.coords = Coords(jnp.linspace(-1, 1, height)[None, None, :, None])
        self.conv = Conv2d(in_chn + 1, out_chn, kernel_size=3, padding=1, rngs=rngs)
        self.pool = MaxPool2d(2, 2)
        self.conv_bn = BatchNorm2d(out_chn)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_chn, height, W) → (N, out_chn, height / 2, W / 2)."""
        return nnx.relu(self.conv_bn(self.pool(self.conv(with_coords(x, self.coords)))))


class Up(nnx.Module):
    """`ConvBlockUpF`."""

    def __init__(self, in_chn: int, out_chn: int, height: int, *, rngs: nnx.Rngs):
        self.coords = Coords(jnp.linspace(-1, 1, 2 * height)[None, None, :, None])
        self.conv = Conv2d(in_chn + 1, out_chn, kernel_size=3, padding=1, rngs=rngs)
        self.conv_bn = BatchNorm2d(out_chn)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, in_chn, height, W) → (N, out_chn, 2 · height, 2 · W)."""
        x = interpolate(x, size=(x.shape[2] * 2, x.shape[3] * 2), mode="bilinear", align_corners=False)
        return nnx.relu(self.conv_bn(self.conv(with_coords(x, self.coords))))


class SelfAttention(nnx.Module):
    """Every time hears from all others."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        self.key_fun = nnx.Linear(dim, dim, rngs=rngs)
        self.val_fun = nnx.Linear(dim, dim, rngs=rngs)
        self.que_fun = nnx.Linear(dim, dim, rngs=rngs)
        self.pro_fun = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(N, dim, 1, W) → the same."""
        x = x[:, :, 0].transpose(0, 2, 1)
        kk, qq, vv = self.key_fun(x), self.que_fun(x), self.val_fun(x)
        weights = nnx.softmax(kk @ qq.transpose(0, 2, 1) / x.shape[-1], axis=1)
        return self.pro_fun(weights.transpose(0, 2, 1) @ vv).transpose(0, 2, 1)[:, :, None]


class Net2DFast(nnx.Module):
    """Spectrograms (N, 1, 128, W), where 8 divides W → the probabilities of each class, and the sizes of calls."""

    def __init__(self, num_filts: int = 128, num_classes: int = SPECIES, height: int = 128, *, rngs: nnx.Rngs):
        n = num_filts
        self.conv_dn_0 = Down(1, n // 4, height, rngs=rngs)
        self.conv_dn_1 = Down(n // 4, n // 2, height // 2, rngs=rngs)
        self.conv_dn_2 = Down(n // 2, n, height // 4, rngs=rngs)
        self.conv_dn_3 = Conv2d(n, n * 2, 3, padding=1, rngs=rngs)
        self.conv_dn_3_bn = BatchNorm2d(n * 2)
        self.conv_1d = Conv2d(n * 2, n * 2, (height // 8, 1), padding=0, rngs=rngs)
        self.conv_1d_bn = BatchNorm2d(n * 2)
        self.att = SelfAttention(n * 2, rngs=rngs)
        self.conv_up_2 = Up(n * 2, n // 2, height // 8, rngs=rngs)
        self.conv_up_3 = Up(n // 2, n // 4, height // 4, rngs=rngs)
        self.conv_up_4 = Up(n // 4, n // 4, height // 2, rngs=rngs)
        self.conv_op = Conv2d(n // 4, n // 4, kernel_size=3, padding=1, rngs=rngs)
        self.conv_op_bn = BatchNorm2d(n // 4)
        self.conv_size_op = Conv2d(n // 4, 2, kernel_size=1, rngs=rngs)
        self.conv_classes_op = Conv2d(n // 4, num_classes + 1, kernel_size=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(N, num_classes + 1, 128, W), of which the last is no bat, and (N, 2, 128, W)."""
        x1 = self.conv_dn_0(x)
        x2 = self.conv_dn_1(x1)
        x3 = self.conv_dn_2(x2)
        x3 = nnx.relu(self.conv_dn_3_bn(self.conv_dn_3(x3)))
        x = nnx.relu(self.conv_1d_bn(self.conv_1d(x3)))
        x = self.att(x)
        x = self.conv_up_2(x + x3)  # (N, C, 1, W) and (N, C, H, W)
        x = self.conv_up_3(x + x2)
        x = self.conv_up_4(x + x1)
        x = nnx.relu(self.conv_op_bn(self.conv_op(x)))
        return nnx.softmax(self.conv_classes_op(x), axis=1), nnx.relu(self.conv_size_op(x))


def package() -> Path:
    """The folder of batdetect2's files. The package is not imported: that would import much else."""
    found = importlib.util.find_spec("batdetect2")
    if found is None or found.origin is None:
        raise FileNotFoundError("batdetect2 is not installed: pip install --no-deps batdetect2==1.3.1")
    return Path(found.origin).parent


def load() -> tuple[Net2DFast, list[str]]:
    """The network with its trained weights, ready to detect, and the names of the species."""
    import torch  # whose format the file has

    saved = torch.load(package() / "models" / "Net2DFast_UK_same.pth.tar", map_location="cpu", weights_only=True)
    model = nnx.eval_shape(lambda: Net2DFast(rngs=nnx.Rngs(0)))  # every value comes from the file
    load_state_dict(model, saved["state_dict"])
    model.eval()
    return model, saved["params"]["class_names"]


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """(samples,) → (1, 1, 220, time): how loud each frequency is, beside how loud it was, the highest first."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    loudness = np.abs(np.fft.rfft(frames * window))[:, ROWS].T[::-1] * 2.0**31
    # Per-channel energy normalisation.
    past, smooth = np.empty_like(loudness), (np.sqrt(1 + 4 * 20**2) - 1) / (2 * 20**2)
    now = np.ones(len(loudness))
    for i, column in enumerate(loudness.T):
        past[:, i] = now = smooth * column + (1 - smooth) * now
    rise = np.sqrt(loudness / (1e-6 + past) ** 0.98 + 2) - np.sqrt(2)
    return np.maximum(rise - rise.mean(1, keepdims=True), 0).astype(np.float32)[None, None]


@nnx.jit
def detect(model: Net2DFast, image: jax.Array) -> jax.Array:
    """A spectrogram → the probability of each class at its most likely frequency: (classes, time / 2)."""
    image = interpolate(image, size=(128, image.shape[3] // 2), mode="bilinear", align_corners=False)
    return model(image)[0][0].max(1)


def scene(calls: int = 3) -> np.ndarray:
    """Half a second of hiss, in which a pipistrelle calls: tones that fall from 75 to 45 kHz and stay there."""
    rng = np.random.default_rng(0)
    sound = 2e-3 * rng.normal(size=1023 * STEP + WINDOW)
    t = np.arange(int(0.006 * RATE)) / RATE
    frequency = 45_000 + 30_000 * np.exp(-t / 0.0012)
    call = 0.2 * np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.hanning(len(t))
    for i in range(calls):
        start = int((0.1 + 0.1 * i) * RATE)
        sound[start : start + len(call)] += call
    return sound.astype(np.float32)


def main() -> None:
    """Prints where in the scene there is a bat, and the species that it most likely is."""
    try:
        model, names = load()
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    bats = np.asarray(detect(model, jnp.asarray(spectrogram(scene()))))[:SPECIES]
    for i in range(bats.shape[1]):
        around = bats[:, max(i - 10, 0) : i + 11]
        if bats[:, i].max() == around.max() > 0.5:
            time, species = 2 * STEP * i / RATE, bats[:, i].argmax()
            print(f"{time:.3f} s  {names[species]}  {bats[species, i]:.0%}")


if __name__ == "__main__":
    main()
