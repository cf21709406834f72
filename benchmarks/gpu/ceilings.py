"""What the device reaches at best: the rate of a large matrix product, and of a copy.

python -m benchmarks.gpu --only ceilings
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.gpu import timing
from benchmarks.gpu.part import Part, main

TOLERANCE = 2e-2


def measure_all(part: Part) -> None:
    """The two ceilings, each of JAX and of PyTorch, whichever is faster."""
    on_cpu = jax.default_backend() == "cpu"
    size = 256 if part.tiny else 1024 if on_cpu else 8192
    megabytes = 1 if part.tiny else 64 if on_cpu else 2048
    rates = part.results["rates"] = {}
    for dtype in ("tf32", "bfloat16"):
        figures = timing.compare(products(size, dtype), TOLERANCE, seconds=0.2 if part.tiny else 2)
        rates[f"{dtype} product"] = {"tflops": best(figures, 2 * size**3) / 1e12, "sides": figures}
        part.save()
    figures = timing.compare(copies(megabytes * 10**6), 0, seconds=0.2 if part.tiny else 2)
    rates["copy"] = {"gigabytes": best(figures, 2 * megabytes * 10**6) / 1e9, "sides": figures}
    part.save()


def best(figures: dict, work: float) -> float:
    """The work in a second of the fastest side; 0 where none could be timed."""
    return max((1e3 * work / f["ms"] for f in figures.values() if "ms" in f), default=0.0)


def products(size: int, dtype: str) -> dict:
    """A square matrix product in each library."""
    values = np.random.default_rng(0).standard_normal((size, size), np.float32)
    name = "float32" if dtype == "tf32" else dtype

    def corner(result):
        return [np.asarray(result[:64, :64].astype("float32"))]

    def with_jax():
        a = jnp.asarray(values, name)
        with jax.default_matmul_precision("tensorfloat32" if dtype == "tf32" else "default"):
            return timing.compiled(lambda a: a @ a, a, read=corner)

    def with_torch():
        torch = measure.torch
        measure.set_up_torch(tf32=True)
        a = torch.from_numpy(values).to(measure.torch_device(), getattr(torch, name))
        return timing.of_torch(lambda: a @ a, lambda result: [result[:64, :64].float().cpu().numpy()])

    return {"jax": with_jax} | ({} if measure.torch is None else {"torch": with_torch})


def copies(size: int) -> dict:
    """An array read and written once, in each library."""

    def with_jax():
        return timing.compiled(lambda a: -a, jnp.ones(size // 4, "float32"), read=lambda r: [np.asarray(r[:64])])

    def with_torch():
        torch = measure.torch
        a = torch.ones(size // 4, device=measure.torch_device())
        into = torch.empty_like(a)
        return timing.of_torch(partial(torch.neg, a, out=into), lambda r: [r[:64].cpu().numpy()])

    return {"jax": with_jax} | ({} if measure.torch is None else {"torch": with_torch})


if __name__ == "__main__":
    main(measure_all)
