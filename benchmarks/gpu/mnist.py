"""The training program on handwritten digits, on this device, with its picture of the gradients.

python -m benchmarks.gpu --only mnist
"""

import json
import time
from pathlib import Path

from benchmarks.gpu.part import Part, load, main


def measure_all(part: Part) -> None:
    """Trains by `configs/mnist.toml`; of a test of the command, one epoch of a few digits."""
    out = part.file.parent / "mnist"
    words = ["--config", "configs/mnist.toml", "--out", str(out)]
    if part.tiny:
        words += ["--train.epochs", "1", "--train.batch-size", "1000", "--model.channels", "4", "4"]
    try:
        train = load("examples.train")
        start = time.perf_counter()
        status = train.main(words)
    except ImportError as error:  # the extra "examples" brings the digits and what the program is made with
        part.note(f"The training program cannot run here. {error}")
        return
    seconds = time.perf_counter() - start
    if status:
        part.note(f"The training program ended with status {status}.")
        return
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = records[-1]
    part.results |= {
        "seconds": seconds,
        "steps": last["step"],
        "test_accuracy": last["test_accuracy"],
        "pictures": sorted(str(p.relative_to(part.file.parent)) for p in Path(out).rglob("*.png")),
    }


if __name__ == "__main__":
    main(measure_all)
