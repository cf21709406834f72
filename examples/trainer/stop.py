"""Ctrl-C and SIGTERM: a run notes the signal, finishes its step and saves."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils


class Stop:
    """Notes the first Ctrl-C or SIGTERM; the loop asks for it after each step. A second one ends the program."""

    signal: int | None = None
    """the number of the signal, once one has come"""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles both signals until the block ends."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def agreed(self) -> bool:
        """Whether any process has noted a signal: all of them must stop after the same step."""
        if jax.process_count() == 1:
            return self.signal is not None
        told = multihost_utils.process_allgather(np.array(self.signal or 0))
        self.signal = int(told.max()) or None
        return self.signal is not None
