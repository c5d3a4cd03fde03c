"""When a newsletter's editions open: nominal local times, and the instants at which they come. No I/O.

A slot is named by its nominal local time, so an hour that daylight saving repeats counts once, and one that
it skips comes as much later as the clock was put forward.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from subscribers.model import Cadence
from syndicate.model import Schedule

__all__ = ["Slot", "find_due_slot", "find_next_slot", "local_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One time at which an edition opens."""

    local: str  #: "2026-10-25T02:30", unique within a newsletter and cadence
    at: datetime  #: the instant in UTC


def local_name(instant: datetime, zone: ZoneInfo) -> str:
    """An instant as the nominal local time of a zone, to the minute."""
    return instant.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def find_due_slot(schedule: Schedule, zone: ZoneInfo, now: datetime) -> Slot | None:
    """The newest slot that has come and was not dealt with, or None.

    Older ones that were missed with it are left out: the newest holds all that they would have held.
    """
    # A day more than today: nominal tomorrow can have begun where a zone jumps over the date line.
    today = now.astimezone(zone).date() + timedelta(days=1)
    for day in _days(schedule, today, step=-1):
        slot = _slot(schedule, day, zone)
        if slot.local <= schedule.after_local:
            return None
        if slot.at <= now:
            return slot
    return None


def find_next_slot(schedule: Schedule, zone: ZoneInfo, now: datetime) -> Slot:
    """The first slot that is still to come."""
    yesterday = now.astimezone(zone).date() - timedelta(days=1)
    return next(
        slot for day in _days(schedule, yesterday, step=1) if (slot := _slot(schedule, day, zone)).at > now
    )


def _days(schedule: Schedule, start: date, *, step: int) -> Iterator[date]:
    # 70 days hold two slots of every cadence.
    return (day for n in range(70) if _is_on(schedule, day := start + timedelta(days=n * step)))


def _is_on(schedule: Schedule, day: date) -> bool:
    if schedule.cadence is Cadence.WEEKLY:
        return day.weekday() == schedule.weekday
    if schedule.cadence is Cadence.MONTHLY:
        return day.day == min(schedule.monthday or 1, monthrange(day.year, day.month)[1])
    return True


def _slot(schedule: Schedule, day: date, zone: ZoneInfo) -> Slot:
    # fold=0 is the first of two equal hours, and the offset from before the jump for an hour that is skipped:
    # 02:30 on the last Sunday of March in Berlin is 03:30 by the clock. Local arithmetic would drop it.
    nominal = datetime.combine(day, time(schedule.hour, schedule.minute))
    return Slot(
        local=nominal.strftime("%Y-%m-%dT%H:%M"), at=nominal.replace(tzinfo=zone, fold=0).astimezone(UTC)
    )
