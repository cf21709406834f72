"""Calls drawn at random, many more than the tests make; each that goes wrong is printed.

    python tools/fuzz.py spoiled --calls 10000           # arguments that are wrong: each is answered or refused by us
    python tools/fuzz.py agreement --calls 20000         # arguments that may be right: PyTorch and jaxconv agree

The calls are numbered, so that a number is all that is needed to make one again: `--first 1234 --calls 1`. They run in
processes of their own, which a call that ends the process, or takes longer than `--seconds`, does not take along.
"""

import argparse
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of the first call of a process, which imports everything.
STARTING = 120


def main() -> None:
    """Has the calls made, and counts their outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("spoiled", "agreement"))
    parser.add_argument("--first", type=int, default=0, help="the number of the first call")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5, help="that a call may take")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options)
        return
    counts: Counter[str] = Counter()
    first, end = options.first, options.first + options.calls
    while first < end:
        first = _watch(options, first, end, counts)
    print(dict(counts))
    sys.exit(bool(set(counts) - {"answers", "refuses", "agrees"}))


def _watch(options: argparse.Namespace, first: int, end: int, counts: Counter[str]) -> int:
    """Has a process make the calls from `first` on; the number of the first call that it did not come to."""
    command = [sys.executable, __file__, options.kind, "--worker", f"--first={first}", f"--calls={end - first}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    number, text, limit = first, "", STARTING
    while True:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            line = None
            process.kill()
            outcome = f"takes longer than {limit} s"
        else:
            outcome = "" if line else f"ends the process with {process.wait()}"
        if line is None and not text:
            sys.exit("no call was made")
        if line is None:
            if number < end:
                counts[outcome] += 1
                print(f"{text.strip() or number} -> {outcome}", flush=True)
            return number + 1
        if line.startswith("call "):
            text = line.removeprefix("call ")
        elif line.startswith("outcome "):
            outcome, number, limit = line.removeprefix("outcome ").strip(), number + 1, options.seconds
            right = outcome in ("answers", "refuses", "agrees")
            counts[outcome if right else "wrong"] += 1
            if not right:
                print(f"{text.strip()} -> {outcome}", flush=True)
            if number == end:
                process.wait()
                return end


def _work(options: argparse.Namespace) -> None:
    import warnings

    warnings.simplefilter("ignore")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    calls = range(options.first, options.first + options.calls)
    if options.kind == "spoiled":
        import spoiled

        for number in calls:
            call = spoiled.draw(number)
            print("call", call.text, flush=True)
            print("outcome", spoiled.outcome(call).replace("\n", " "), flush=True)
        return
    import jax
    import transformed

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)  # what is computed, not how fast
    for number in calls:
        case = transformed.draw(number)
        print("call", f"{number}: {case}".replace("\n", " "), flush=True)
        try:
            outcome = transformed.problem(case) or "agrees"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        print("outcome", outcome.replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
