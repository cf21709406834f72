"""Detects speech with published weights: the Silero voice detector, on a voice made of sine waves.

    python -m examples.ports.silero

needs the package silero-vad, of which it reads only a file of weights: `pip install --no-deps silero-vad`. The network
takes 32 ms of sound at a time. A convolution whose weight holds the waves of a Fourier transform computes a spectrum,
four more convolutions find the features of speech, and an LSTM cell keeps a memory.
"""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv
from jaxconv.interop import load_state_dict
from jaxconv.nnx import Conv1d

RATE = 16_000  # samples a second
CHUNK = 512  # samples at a time
CONTEXT = 64  # samples before them, which the network gets again
HIDDEN = 128

State = tuple[jax.Array, jax.Array]  # of the LSTM cell, in Flax's order: (c, h)


class SileroVAD(nnx.Module):
    """(N, 64 + 512) samples and a state → the probability of speech (N,), and the next state."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.stft_conv = Conv1d(1, 258, kernel_size=256, stride=128, bias=False, rngs=rngs)
        self.conv1 = Conv1d(129, 128, kernel_size=3, padding=1, rngs=rngs)
        self.conv2 = Conv1d(128, 64, kernel_size=3, stride=2, padding=1, rngs=rngs)
        self.conv3 = Conv1d(64, 64, kernel_size=3, stride=2, padding=1, rngs=rngs)
        self.conv4 = Conv1d(64, 128, kernel_size=3, padding=1, rngs=rngs)
        self.lstm_cell = nnx.OptimizedLSTMCell(128, HIDDEN, rngs=rngs)
        self.final_conv = Conv1d(128, 1, kernel_size=1, rngs=rngs)

    def __call__(self, x: jax.Array, state: State) -> tuple[jax.Array, State]:
        """One step in time."""
        x = jaxconv.pad(x[:, None], (0, 64), mode="reflect")
        real, imaginary = jnp.split(self.stft_conv(x), 2, axis=1)
        x = jnp.sqrt(real**2 + imaginary**2)
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.relu(self.conv3(x))
        x = nnx.relu(self.conv4(x))
        state, h = self.lstm_cell(state, x.squeeze(-1))
        return jax.nn.sigmoid(self.final_conv(nnx.relu(h)[:, :, None])).mean((1, 2)), state


@nnx.jit
def listen(model: SileroVAD, sound: jax.Array) -> jax.Array:
    """The probability of speech in each chunk of a sound (samples,), without the incomplete last chunk."""
    chunks = sound[: len(sound) // CHUNK * CHUNK].reshape(-1, 1, CHUNK)
    zeros = jnp.zeros((1, HIDDEN))

    def step(carry, chunk):
        context, state = carry
        x = jnp.concatenate([context, chunk], axis=1)
        probability, state = model(x, state)
        return (x[:, -CONTEXT:], state), probability[0]

    return jax.lax.scan(step, (jnp.zeros((1, CONTEXT)), (zeros, zeros)), chunks)[1]


def package() -> Path:
    """The folder of silero-vad's files. The package is not imported: that would import PyTorch."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise FileNotFoundError("the package silero-vad is not installed: pip install --no-deps silero-vad")
    return Path(found.origin).parent / "data"


def load() -> SileroVAD:
    """The network with its trained weights."""
    # Shapes alone: every value comes from the file.
    model = nnx.eval_shape(lambda: SileroVAD(rngs=nnx.Rngs(0)))
    load_state_dict(model, package() / "silero_vad_16k.safetensors")
    return model


# The resonances of the mouth for a, i, u, e, in Hz.
VOWELS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480)], float)
SYLLABLE = 0.22  # seconds


def voice(seconds: float, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """A sound like speech: harmonics of a wavering pitch, filtered by resonances that move from vowel to vowel."""
    t = np.arange(int(seconds * RATE)) / RATE
    frequency = pitch * (1 + 0.08 * np.sin(2 * np.pi * 0.7 * t) + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    along = t / SYLLABLE
    stops = np.arange(int(along[-1]) + 2)
    resonances = [np.interp(along, stops, VOWELS[stops % 4, i]) for i in range(3)]
    sound = np.zeros_like(t)
    for harmonic in range(1, 40):
        loudness = sum(
            gain / (1 + ((harmonic * frequency - resonance) / width) ** 2)
            for resonance, gain, width in zip(resonances, (1.0, 0.6, 0.3), (80, 100, 150), strict=True)
        )
        sound += loudness * harmonic**-0.3 * np.sin(harmonic * phase)
    sound += 0.02 * np.random.default_rng(seed).normal(size=len(t))
    sound *= np.clip(np.sin(np.pi * along) + 0.8, 0, 1)  # louder and softer with each syllable
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def scene() -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """A sound of six seconds, and its parts: (name, start, end) in seconds."""
    rng = np.random.default_rng(1)
    parts = [
        ("hiss", (0.02 * rng.normal(size=RATE)).astype(np.float32)),
        ("voice", voice(2.0)),
        ("tone", (0.2 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)),
        ("voice", voice(1.0, pitch=200)),
        ("silence", np.zeros(RATE, np.float32)),
    ]
    plan, now = [], 0.0
    for name, sound in parts:
        plan.append((name, now, now + len(sound) / RATE))
        now += len(sound) / RATE
    return np.concatenate([sound for _, sound in parts]), plan


def main() -> None:
    """Prints the probability of speech for each tenth of a second of the scene."""
    try:
        model = load()
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    sound, plan = scene()
    probabilities = np.asarray(listen(model, jnp.asarray(sound)))
    for i in range(0, len(probabilities), 3):
        now, probability = i * CHUNK / RATE, probabilities[i : i + 3].mean()
        name = next(name for name, start, end in plan if start <= now < end)
        print(f"{now:5.2f} s  {name:8}{'#' * round(40 * probability):41}{probability:4.0%}")
    for name, start, end in plan:
        heard = probabilities[int(start * RATE) // CHUNK : int(end * RATE) // CHUNK]
        print(f"{name:8}{(heard > 0.5).mean():5.0%} taken for speech")


if __name__ == "__main__":
    main()
