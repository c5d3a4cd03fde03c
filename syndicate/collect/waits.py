"""What the head of a response says about later requests: how long to stay away, how long it is fresh.

Pure: opens nothing, reads no clock; a server's times are compared with its own ``Date`` only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from multidict import MultiMapping

__all__ = ["find_fresh_s", "find_retry_after_s"]

_DAY_S: Final = 86_400.0
#: No server keeps us away for longer by what it says about caches; our choice.
_LONGEST_FRESH_S: Final = _DAY_S
#: A server may ask for this much waiting; our choice.
_SHORTEST_WAIT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 7 * _DAY_S

_ALWAYS_ASK: Final = re.compile(r"(?<![\w-])no-(?:cache|store)(?![\w-])", re.IGNORECASE)
_MAX_AGE: Final = re.compile(r"(?<![\w-])max-age\s*=\s*\"?([0-9]{1,18})", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


def find_fresh_s(headers: MultiMapping[str]) -> float | None:
    """For how many seconds a response says that it stays fresh (RFC 9111 section 4.2.1), at most a day.

    ``max-age`` less ``Age``, else ``Expires`` less ``Date``. None if it says nothing that can be understood,
    or that it has to be asked for each time. ``s-maxage`` is for caches that people share.
    """
    if "Cache-Control" in headers:
        control = ",".join(headers.getall("Cache-Control"))
        if _ALWAYS_ASK.search(control):
            return None
        if max_age := _MAX_AGE.search(control):
            return _bounded(float(max_age[1]) - (_find_number(headers.get("Age", "")) or 0.0))
    if "Expires" not in headers:
        return None
    seconds = _find_seconds_between(headers.get("Date", ""), headers["Expires"])
    return None if seconds is None else _bounded(seconds)


def find_retry_after_s(headers: MultiMapping[str]) -> float | None:
    """How many seconds a server wants us to stay away (RFC 9110 section 10.2.3): a minute to a week.

    A date counts from the response's own ``Date``, so a server whose clock is wrong is understood as it is
    meant. None if nothing was asked for, or nothing that can be understood.
    """
    if "Retry-After" not in headers:
        return None
    value = headers["Retry-After"]
    seconds = _find_number(value)
    if seconds is None:
        seconds = _find_seconds_between(headers.get("Date", ""), value)
    return None if seconds is None else min(max(seconds, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_FRESH_S)


def _find_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text := text.strip()) else None


def _find_seconds_between(start: str, end: str) -> float | None:
    start_at, end_at = _find_date(start), _find_date(end)
    if start_at is None or end_at is None:
        return None
    return (end_at - start_at).total_seconds()


def _find_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
