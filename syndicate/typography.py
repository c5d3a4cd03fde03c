"""How an article is set, on a page and in a mail: language, direction, dates, headings, links. Pure; writes
neither.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

__all__ = [
    "clock_time",
    "direction_of",
    "host_of",
    "https_address",
    "language_of",
    "long_date",
    "machine_date",
    "reading_minutes",
    "settle_headings",
    "web_address",
]

_WORDS_A_MINUTE: Final = 230  # our choice: an adult's silent reading, rounded down
_RIGHT_TO_LEFT: Final = frozenset(
    {"ar", "arc", "ckb", "dv", "fa", "he", "ks", "ps", "sd", "syr", "ug", "ur", "yi"}
)
_RIGHT_TO_LEFT_SCRIPTS: Final = frozenset({"adlm", "arab", "hebr", "nkoo", "rohg", "syrc", "thaa"})
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")  # as much of BCP 47 as feeds bring
_TAG: Final = re.compile(r"<[^>]*>")
_HEADING: Final = re.compile(r"(</?h)([1-6])(?=[\s>/])", re.IGNORECASE)


def language_of(*candidates: str) -> str:
    """The first of these that can be a language (BCP 47), else English, as the templates are."""
    return next((c for c in candidates if _LANGUAGE.fullmatch(c)), "en")


def direction_of(language: str) -> str:
    """The direction in which a language (BCP 47) is written: ltr or rtl."""
    subtags = language.lower().split("-")
    scripts = [s for s in subtags[1:] if len(s) == 4 and s.isalpha()]
    if scripts:
        return "rtl" if scripts[0] in _RIGHT_TO_LEFT_SCRIPTS else "ltr"
    return "rtl" if subtags[0] in _RIGHT_TO_LEFT else "ltr"


def long_date(at: datetime, time_zone: str) -> str:
    """A day in a time zone (IANA name) as people write it: 24 November 2026."""
    local = at.astimezone(ZoneInfo(time_zone))
    return f"{local.day} {local:%B} {local.year}"


def machine_date(at: datetime, time_zone: str) -> str:
    """The same instant for a ``datetime`` attribute, in that zone so that the day is the same too."""
    return at.astimezone(ZoneInfo(time_zone)).isoformat(timespec="seconds")


def clock_time(at: datetime, time_zone: str) -> str:
    """A time of day in a time zone (IANA name): 09:05."""
    return f"{at.astimezone(ZoneInfo(time_zone)):%H:%M}"


def reading_minutes(html: str) -> int:
    """How long an article takes to read, in whole minutes, at least 1."""
    return max(1, round(len(_TAG.sub(" ", html).split()) / _WORDS_A_MINUTE))


def settle_headings(html: str) -> str:
    """The article with headings that begin at h2, since the title is the page's h1, and skip no level.

    ``html`` is sanitised, so that a heading's tag is what looks like one (WCAG 2.2 technique G141).
    """
    above: list[int] = []  # the levels, as given, of the headings that the present one is under

    def settle(tag: re.Match[str]) -> str:
        level = int(tag[2])
        if tag[1].startswith("</"):
            return f"{tag[1]}{min(len(above) + 1, 6)}"
        while above and above[-1] >= level:
            above.pop()
        above.append(level)
        return f"{tag[1]}{min(len(above) + 1, 6)}"

    return _HEADING.sub(settle, html)


def web_address(url: str) -> str:
    """The address if a link may lead there (http or https), else empty."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in {"http", "https"} and parts.hostname else ""


def https_address(url: str) -> str:
    """The address if an image may be shown from there, else empty: pages (CSP ``img-src https:``) and mail
    programs show no other.
    """
    return url if web_address(url) and urlsplit(url).scheme == "https" else ""


def host_of(url: str) -> str:
    """The name of a web address's host, for people."""
    return (urlsplit(url).hostname or "").removeprefix("www.")
