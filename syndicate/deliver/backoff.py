"""When a deferred delivery is tried again. No I/O; does not decide when to give up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

__all__ = ["decide_next_attempt"]

#: Our choice, for a relay that queues by itself; to a foreign server it would be 30 minutes at least
#: (RFC 5321 section 4.5.4.1).
_MINUTES: Final = (5, 15, 30, 60)

#: A fifth more at most, so that what failed together does not come back together.
_SPREAD: Final = 0.2


def decide_next_attempt(attempts: int, *, now: datetime, jitter: float) -> datetime:
    """The instant of the next attempt: after 5, 15, 30 minutes, then hourly.

    ``attempts`` counts those that were made, the last one included; ``jitter`` is from 0 to 1.
    """
    minutes = _MINUTES[min(max(attempts, 1), len(_MINUTES)) - 1]
    return now + timedelta(minutes=minutes) * (1 + _SPREAD * jitter)
