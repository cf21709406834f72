"""One command for a machine with a GPU: what the library gives there, in under 8 minutes.

    PYTHONPATH=. python -m benchmarks.gpu [--only PART ...] [--minutes N] [--json FOLDER] [--out FILE] [--from FOLDER]

It needs JAX, Flax and optax, and nothing of this package but its source. PyTorch, and what the training program is made
with, are taken where they are installed. Each part is a process of its own with a share of the time: one that fails, or
that a library takes down, is told of in the results and ends no other. Without a GPU the same parts run on small sizes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# In this order; the numbers are shares of the time.
PARTS = {"ceilings": 3, "parity": 17, "mnist": 12, "layers": 28, "ops": 14, "kernels": 12, "networks": 26}
MINUTES = 7.5
GRACE = 10  # seconds that a part has to end what it has begun
MEASURED = ("rates", "records", "test_accuracy", "rows")  # one of these has what a part found
TAIL = 1500  # characters of what a part that ended said last


def environment() -> dict[str, str]:
    """What the parts run in."""
    made = dict(os.environ)
    # JAX would take three quarters of the memory at once, and PyTorch works beside it in the same process.
    made.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # It would decide over the heads of both libraries how products are rounded.
    made.pop("NVIDIA_TF32_OVERRIDE", None)
    platforms = made.get("JAX_PLATFORMS", "")
    if platforms and "cpu" not in platforms.split(","):
        made["JAX_PLATFORMS"] = f"{platforms},cpu"  # where the references are computed
    made["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), made.get("PYTHONPATH")]))
    return made


def run_part(name: str, folder: Path, seconds: float, tiny: bool, without_torch: bool = False) -> dict[str, Any]:
    """Runs a part and reads what it wrote, whatever became of it."""
    file = folder / f"{name}.json"
    file.unlink(missing_ok=True)
    start = time.time()
    command = [sys.executable, "-m", f"benchmarks.gpu.{name}", "--json", str(file.resolve())]
    command += ["--deadline", str(start + seconds), *["--tiny"] * tiny, *["--without-torch"] * without_torch]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, errors="replace"
    )
    late = False
    try:
        _, said = process.communicate(timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        late = True
        process.kill()
        _, said = process.communicate()
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"notes": []}
    results["seconds_taken"] = time.time() - start
    if late:
        results["notes"].append(f"The part was stopped {GRACE} s after its time of {seconds:.0f} s.")
    elif process.returncode:
        how = f"status {process.returncode}"
        if process.returncode < 0:
            how = f"signal {signal.Signals(-process.returncode).name}"
        results["notes"].append(f"The part ended with {how}.")
        results["ended"], results["said"] = how, said[-TAIL:]
        print(said[-TAIL:], file=sys.stderr)
    return results


def run(names: Sequence[str], folder: Path, minutes: float, tiny: bool) -> dict[str, Any]:
    """Runs parts one after the other; what one leaves of its time goes to those that follow."""
    end = time.time() + 60 * minutes
    found: dict[str, Any] = {}
    for index, name in enumerate(names):
        share = PARTS[name] / sum(PARTS[other] for other in names[index:])
        seconds = max((end - time.time()) * share - GRACE, 5.0)
        print(f"{name}: up to {seconds:.0f} s", flush=True)
        found[name] = run_part(name, folder, seconds, tiny)
        left = seconds - found[name]["seconds_taken"]
        if "ended" in found[name] and not any(map(found[name].get, MEASURED)) and left > 5:
            # The two libraries may each bring a cuDNN of its own, which do not get along in one process.
            first = found[name]["ended"]
            print(f"{name}: again, without PyTorch", flush=True)
            found[name] = run_part(name, folder, left, tiny, without_torch=True)
            found[name]["notes"].append(f"With PyTorch in its process the part ended with {first}.")
        (folder / f"{name}.json").write_text(json.dumps(found[name], indent=1))
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Runs the parts and writes the page."""
    parser = argparse.ArgumentParser(description="Measures the library on a GPU and writes the page of the results.")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--json", type=Path, default=Path("runs/gpu"), metavar="FOLDER", help="where the figures go")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="the page; docs/gpu.md is the site's")
    parser.add_argument("--from", dest="given", type=Path, metavar="FOLDER", help="read figures, measure nothing")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes: a test of this command")
    given = parser.parse_args(words)
    folder = given.given or given.json
    folder.mkdir(parents=True, exist_ok=True)
    if given.given is None:
        run([name for name in PARTS if name in given.only], folder, given.minutes, given.tiny)
    found = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in PARTS if (folder / f"{name}.json").exists()
    }
    # Not before: this process holds no device while the parts run.
    from benchmarks.gpu import choices, page

    text = page.page(found)
    (given.out or folder / "gpu.md").write_text(text)
    if any(page.has_gpu(found, part) for part in choices.PARTS):
        print(f"\n{choices.text(found)}")
    print(f"\n{page.targets_table(found)}\n\nwritten: {given.out or folder / 'gpu.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
