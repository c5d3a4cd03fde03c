"""How fast messages may go out, and over how many connections. Reads no clock and does not wait."""

from __future__ import annotations

from typing import Final

__all__ = ["Allowance", "Pace"]

#: After trouble, how long until one connection more is tried; our choice.
_CALM_S: Final = 60.0

#: For so long after halving, further trouble is taken for the same; our choice.
_BURST_S: Final = 1.0


class Pace:
    """Turns at equal distances, ``rate_s`` in a second; 0 for no limit. Unused turns do not add up."""

    def __init__(self, rate_s: float) -> None:
        self.is_limited = rate_s > 0
        self.free_at_s = float("-inf")  #: when the next turn comes
        self._interval_s = 1 / rate_s if rate_s else 0.0

    def is_free(self, now_s: float) -> bool:
        """Whether the next turn has come already."""
        return now_s >= self.free_at_s

    def reserve(self, now_s: float) -> float:
        """Takes the next turn and returns the seconds from ``now_s`` until it comes."""
        turn_s = max(now_s, self.free_at_s)
        self.free_at_s = turn_s + self._interval_s
        return turn_s - now_s


class Allowance:
    """How many connections a relay may have: ``most``, fewer after trouble, one more each calm minute."""

    def __init__(self, most: int) -> None:
        self.in_use = 0  #: kept by whoever opens and closes them: how many are ready for messages
        self.count = most
        self._most = most
        self._halved_at_s = self._grown_at_s = float("-inf")

    @property
    def is_exceeded(self) -> bool:
        """Whether one that has nothing on its way should be closed."""
        return self.in_use > self.count

    @property
    def grows_at_s(self) -> float:
        """When the next one more is due; infinity if there is nothing to regain."""
        return float("inf") if self.count == self._most else self._grown_at_s + _CALM_S

    def halve(self, now_s: float) -> None:
        """The relay has too much to do: half of those that are in use, one at least.

        Several complaints within a second are one.
        """
        if now_s - self._halved_at_s >= _BURST_S:
            self.count = max(1, min(self.count, self.in_use) // 2)
            self._halved_at_s = now_s
        self._grown_at_s = now_s

    def settle_for(self, count: int, now_s: float) -> None:
        """The relay refused a connection beside these: no more than they are, and one at least."""
        self.count = max(1, min(self.count, count))
        self._grown_at_s = now_s

    def grow(self, now_s: float) -> bool:
        """Whether it was time for one more."""
        if now_s < self.grows_at_s:
            return False
        self.count += 1
        self._grown_at_s = now_s
        return True

    def restore(self) -> None:
        """As many as at first."""
        self.count = self._most
