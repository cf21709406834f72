"""A part of the command: a process of its own, which writes what it has found so far to a file.

Whatever ends it, the time or an error in a library that takes the process with it, what stands in the file stays.
"""

import argparse
import datetime
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Part:
    """The settings of a part and its results.

    Attributes:
        tiny: whether sizes are those of a test of the command itself.
        results: what is written, by `save`.
    """

    def __init__(self, file: Path, deadline: float, tiny: bool):
        self.file, self.deadline, self.tiny = file, deadline, tiny
        self.results: dict[str, Any] = {"notes": []}

    @property
    def seconds_left(self) -> float:
        """Until no new row should begin."""
        return self.deadline - time.time()

    def note(self, text: str) -> None:
        """Keeps a sentence for the page: what was left out, and why."""
        print(f"  {text}", flush=True)
        self.results["notes"].append(text)
        self.save()

    def save(self) -> None:
        """Writes the results: all of them or, if it is interrupted, those of the last time."""
        beside = self.file.with_suffix(".part")
        beside.write_text(json.dumps(self.results, indent=1))
        os.replace(beside, self.file)


def first_line(error: BaseException) -> str:
    """An error in a line: its kind, and how its message begins."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def surroundings() -> dict[str, Any]:
    """The device, and the versions of what computes there."""
    import jax

    import benchmarks.measure as measure

    device = jax.devices()[0]
    facts = {
        "date": datetime.date.today().isoformat(),
        "platform": device.platform,
        "device": f"{device.device_kind} ({device.platform}), {measure.CORES} cores of a CPU",
        "versions": measure.versions(),
    }
    torch = measure.torch
    if torch is not None:
        facts["torch"] = f"PyTorch's device: {measure.torch_device()}"
        if torch.cuda.is_available():
            facts["torch"] += f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return facts


def main(measure: Callable[[Part], None]) -> None:
    """The command line of a part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="in seconds, as time.time() counts them")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--without-torch", action="store_true", help="as if PyTorch was not installed")
    given = parser.parse_args()
    part = Part(given.json, given.deadline, given.tiny)
    if given.without_torch:
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        # JAX takes hold of its device, and of the libraries that it needs there, before PyTorch loads its own.
        import jax

        jax.devices()
        part.results["where"] = surroundings()
        part.save()
        measure(part)
    except Exception as error:
        part.note(f"The part ended with an error. {first_line(error)}")
        raise
    finally:
        part.save()


def load(name: str) -> Any:
    """A module, imported after JAX has its device."""
    return importlib.import_module(name)
