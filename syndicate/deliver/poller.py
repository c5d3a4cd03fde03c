"""Tells the connections of a relay that something came in, several at once while there is much to do.

On a selector of its own beside the loop's. Each waking of a process costs more than the work of a reply,
since it finds the processor's caches cold. So while replies come in quick succession from many connections,
it looks every other millisecond and finds several; at other times the loop tells at once. Knows no SMTP.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["READ", "WRITE", "Poller", "Watcher"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

#: Is called with what may be done, READ and WRITE, and the loop's time.
Watcher: TypeAlias = Callable[[int, float], None]

#: Looks that follow each other within half a millisecond are hurried; after so many in a row there are
#: pauses, given connections enough to be found ready together. All are our choice.
_HURRIED_S: Final = 0.0005
_HURRIED_LOOKS: Final = 8
_MANY: Final = 8

#: Between two looks in a hurry; half of it if most connections were found ready, and might stand still.
_PAUSE_S: Final = 0.002

#: With fewer at a look the hurry is over.
_FEW: Final = 2


class Poller:
    """Watches sockets by their numbers, from when it is made until ``close``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._selector = selectors.DefaultSelector()
        self._timer: asyncio.TimerHandle | None = None  #: of the next look, in a hurry
        self._looked_at_s = float("-inf")
        self._hurried = 0
        self._be_told()

    def watch(self, number: int, events: int, watcher: Watcher) -> None:
        """From now on ``watcher`` is told when one of these events, READ and WRITE, may happen."""
        if number in self._selector.get_map():
            self._selector.modify(number, events, watcher)
        else:
            self._selector.register(number, events, watcher)

    def forget(self, number: int) -> None:
        """Watches it no more; not later than it is closed."""
        if number in self._selector.get_map():
            self._selector.unregister(number)

    def close(self) -> None:
        """Watches nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._loop.remove_reader(self._selector_number)
        self._selector.close()

    def _be_told(self) -> None:
        self._timer, self._hurried = None, 0
        self._loop.add_reader(self._selector_number, self._on_ready)

    @property
    def _selector_number(self) -> int:
        return self._selector.fileno()

    def _on_ready(self) -> None:
        """Called by the loop when there is something."""
        now_s = self._loop.time()
        is_hurried = now_s - self._looked_at_s < _HURRIED_S and len(self._selector.get_map()) >= _MANY
        self._hurried = self._hurried + 1 if is_hurried else 0
        self._looked_at_s = now_s
        if self._hurried >= _HURRIED_LOOKS:
            self._loop.remove_reader(self._selector_number)
            self._timer = self._loop.call_later(_PAUSE_S, self._on_time)
        self._look(now_s)

    def _on_time(self) -> None:
        """Called by the loop after a pause."""
        found = watched = len(self._selector.get_map())
        try:
            found = self._look(self._loop.time())
        finally:
            if found < _FEW:
                self._be_told()
            else:
                pause_s = _PAUSE_S / 2 if found * 2 > watched else _PAUSE_S
                self._timer = self._loop.call_later(pause_s, self._on_time)

    def _look(self, now_s: float) -> int:
        ready = self._selector.select(0)
        for key, events in ready:
            key.data(events, now_s)
        return len(ready)
