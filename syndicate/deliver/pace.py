"""How fast messages may go out. Reads no clock and does not wait."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """Turns at equal distances, ``rate_s`` in a second; 0 for no limit. Unused turns do not add up."""

    def __init__(self, rate_s: float) -> None:
        self._interval_s = 1 / rate_s if rate_s else 0.0
        self._free_at_s = float("-inf")

    def is_free(self, now_s: float) -> bool:
        """Whether the next turn has come already."""
        return now_s >= self._free_at_s

    def reserve(self, now_s: float) -> float:
        """Takes the next turn and returns the seconds from ``now_s`` until it comes."""
        turn_s = max(now_s, self._free_at_s)
        self._free_at_s = turn_s + self._interval_s
        return turn_s - now_s
