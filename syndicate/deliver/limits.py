"""How much may go out at once, in a second, in a day. No I/O; reads no clock and does not wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from syndicate.settings import SmtpSettings

__all__ = ["DomainLimit", "DomainLimits", "Turns", "decide_daily_cap"]

#: Turns of so many seconds may be taken together; our choice. One commit then marks a group of readers, and
#: a relay that counts by the second sees its rate and a tenth at most.
_GROUP_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLimit:
    """What one recipient domain takes, over all relays; 0 is no limit."""

    connections: int = 0  #: messages under way
    rate_s: float = 0.0  #: messages a second

    @property
    def is_set(self) -> bool:
        """Whether it limits anything."""
        return bool(self.connections or self.rate_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLimits:
    """The limits of domains by their name, in small letters and as A-labels, and that of every other one."""

    named: Mapping[str, DomainLimit] = field(default_factory=dict)
    others: DomainLimit = DomainLimit()

    @property
    def are_set(self) -> bool:
        """Whether any domain is limited."""
        return self.others.is_set or any(limit.is_set for limit in self.named.values())

    def get(self, domain: str) -> DomainLimit:
        """The limit of a domain."""
        return self.named.get(domain, self.others)


class Turns:
    """Turns at a rate, in groups: in ``t`` seconds never more than ``t * rate_s`` and one group.

    A group is what falls due in a tenth of a second, one at least. Unused turns do not add up beyond it.
    """

    __slots__ = ("_interval_s", "_tolerance_s", "full_at_s")

    def __init__(self, rate_s: float) -> None:
        self._interval_s = 1 / rate_s
        self._tolerance_s = (max(1, int(rate_s * _GROUP_S)) - 1) * self._interval_s
        self.full_at_s = float("-inf")  #: when a whole group is there; as if nothing had ever been taken

    def is_due(self, now_s: float) -> bool:
        """Whether there is a turn."""
        return now_s >= self.full_at_s - self._tolerance_s

    @property
    def due_s(self) -> float:
        """When it is worth asking again: half a group is there by then. Waiting for all would waste some."""
        return self.full_at_s - self._tolerance_s / 2

    def take(self, now_s: float) -> None:
        """Takes a turn that is due."""
        self.full_at_s = max(now_s, self.full_at_s) + self._interval_s


def decide_daily_cap(relay: SmtpSettings, today: date) -> int | None:
    """How many messages a relay takes today at the most, or None for no limit.

    A warm-up begins with ``warm_up_start`` messages on its first day and grows from day to day until
    ``per_day`` is reached; on the days before it there are none.
    """
    cap = relay.per_day or None
    if relay.warm_up_from is None:
        return cap
    days = (today - relay.warm_up_from).days
    if days < 0:
        return 0
    try:
        warm = int(relay.warm_up_start * relay.warm_up_growth**days)
    except OverflowError:
        return cap
    return warm if cap is None else min(cap, warm)
