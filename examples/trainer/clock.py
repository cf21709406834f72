"""The time that each part of the loop takes."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time until the block ends to that of `name`."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def shares(self) -> str:
        """Each name's share of the sum, as text."""
        total = sum(self.seconds.values())
        return ", ".join(f"{name} {seconds / total:.1%}" for name, seconds in self.seconds.items())
