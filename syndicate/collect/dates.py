"""Dates as people and feeds write them. Reads no clock; guesses no order of day and month."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Final

from syndicate.model import DateQuality

__all__ = ["parse_date", "plausible"]

_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCK_SKEW: Final = timedelta(hours=24)

# ``strptime`` takes the names of the server's locale; these are those of RFC 5322 and of English prose.
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            ("january", "jan"),
            ("february", "feb"),
            ("march", "mar"),
            ("april", "apr"),
            ("may",),
            ("june", "jun"),
            ("july", "jul"),
            ("august", "aug"),
            ("september", "sep", "sept"),
            ("october", "oct"),
            ("november", "nov"),
            ("december", "dec"),
        ),
        start=1,
    )
    for name in names
}
#: Hours from UTC of the zone names that RFC 5322 section 4.3 still knows.
_ZONES: Final = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}

_WEEKDAY: Final = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+)?"
_MONTH: Final = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_CLOCK: Final = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
_ZONE: Final = r"(?:\s*(?P<zone>[+-]\d\d:?\d\d|[a-z]{1,3}))?"
_TIME: Final = rf"(?:(?:t|,?\s+(?:at\s+)?){_CLOCK}{_ZONE})?"
_SHAPES: Final = tuple(
    re.compile(shape + _TIME, re.IGNORECASE)
    for shape in (
        r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)",
        rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ -]{_MONTH},?[ -](?P<year>\d{{4}}|\d\d(?=\s))",
        rf"{_WEEKDAY}{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})",
    )
)


def parse_date(text: str, *, zone: tzinfo) -> tuple[datetime | None, DateQuality]:
    """The instant that a text means, in UTC, and how exact it is; None if the whole text is not one date.

    Understands ISO 8601 and RFC 3339 (``2024-02-08T10:00:00Z``), RFC 5322 (``Thu, 08 Feb 2024 10:00 GMT``)
    and English (``February 8, 2024``, ``8 February 2024``, ``Thursday, Feb 8, 2024``). ``02/08/2024`` means
    two days, so it means none. A time without a zone, and the midnight of a date without a time, are in
    ``zone``. The weekday is not checked: where it disagrees, the date is more often right.
    """
    folded = " ".join(text.split())
    for shape in _SHAPES:
        found = shape.fullmatch(folded)
        if found:
            try:
                return _instant(found.groupdict(), zone)
            except (ValueError, OverflowError):
                break
    return None, DateQuality.FIRST_SEEN


def plausible(at: datetime | None, now: datetime) -> datetime | None:
    """The instant if an article can be of that time, else None: from 1990 to a day after ``now``."""
    return at if at is not None and _EARLIEST <= at <= now + _CLOCK_SKEW else None


def _instant(parts: dict[str, str | None], zone: tzinfo) -> tuple[datetime, DateQuality]:
    month = parts["month"] or ""
    day = date(_year(parts["year"] or ""), _MONTHS.get(month.lower()) or int(month), int(parts["day"] or ""))
    if parts["hour"] is None:
        return datetime.combine(day, time.min, zone).astimezone(UTC), DateQuality.DAY
    # RFC 3339 section 5.6 allows the leap second 60, which datetime does not know.
    second = min(int(parts["second"] or 0), 59)
    at = datetime.combine(day, time(int(parts["hour"]), int(parts["minute"] or 0), second))
    return at.replace(tzinfo=_zone(parts["zone"], zone)).astimezone(UTC), DateQuality.GIVEN


def _year(digits: str) -> int:
    """RFC 5322 section 4.3: two digits below 50 are of this century."""
    year = int(digits)
    if len(digits) > 2:
        return year
    return year + (2000 if year < 50 else 1900)


def _zone(text: str | None, default: tzinfo) -> tzinfo:
    if text is None:
        return default
    if text[0] in "+-":
        digits = text[1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-offset if text[0] == "-" else offset)
    # RFC 5322 section 4.3: a name that nobody knows counts as +0000.
    return timezone(timedelta(hours=_ZONES.get(text.lower(), 0)))
