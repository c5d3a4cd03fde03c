"""SIGINT and SIGTERM as a wish to stop in good order. Ends nothing: who works asks between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Final

__all__ = ["stop_signals"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether a signal to stop has come since; for the main thread only.

    The first signal is noted. The next one has its usual effect, so that nobody has to wait for a relay
    that does not answer.
    """
    asked = Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield asked.is_set
    finally:
        restore()
