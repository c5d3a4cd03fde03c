"""What readers may choose, and what they did choose. No I/O but the list of time zones.

Does not know how a form or a file looks; it is given the words that stood in it.
"""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from subscribers.errors import InvalidPreferences
from subscribers.model import Cadence

__all__ = ["Offer", "Preferences", "clean_name", "parse_language", "parse_preferences", "parse_time_zone"]

_MAX_NAME: Final = 200  # the column's width

#: The usual shapes of BCP 47 (RFC 5646 section 2.1): a language, then subtags.
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_MAX_LANGUAGE: Final = 35


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a newsletter lets its readers choose."""

    cadences: tuple[Cadence, ...]  #: never empty; the first is the default
    topics: Mapping[str, str]  #: label by slug, in the operator's order; empty: there is nothing to choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a reader chose."""

    cadence: Cadence
    topics: tuple[str, ...]  #: slugs, sorted; empty means every topic


def parse_preferences(values: Mapping[str, Sequence[str]], *, offer: Offer) -> Preferences:
    """The choices ``cadence`` (one) and ``topics`` (any number, as slug or label) among those on offer.

    What is missing or blank is the default: the first cadence, every topic. Other fields are not looked at.
    Raises InvalidPreferences with a sentence for each choice that is not on offer.
    """
    problems: list[str] = []
    cadences = [word for value in values.get("cadence", ()) if (word := value.strip())]
    cadence = offer.cadences[0]
    if len(cadences) > 1:
        problems.append("more than one cadence; choose one")
    elif cadences:
        found = next((c for c in offer.cadences if c == cadences[0].casefold()), None)
        if found is None:
            problems.append(f"unknown cadence '{_shown(cadences[0])}'; one of {', '.join(offer.cadences)}")
        cadence = found or cadence
    slugs = {name.casefold(): slug for slug, label in offer.topics.items() for name in (label, slug)}
    topics: set[str] = set()
    for value in values.get("topics", ()):
        if not (word := value.strip()):
            continue
        slug = slugs.get(word.casefold())
        if slug is None:
            known = f"one of {', '.join(offer.topics.values())}" if offer.topics else "none is on offer"
            problems.append(f"unknown topic '{_shown(word)}'; {known}")
        else:
            topics.add(slug)
    if problems:
        raise InvalidPreferences(problems)
    return Preferences(cadence=cadence, topics=tuple(sorted(topics)))


def parse_time_zone(text: str) -> str:
    """The IANA name of a time zone, or "" for a blank one. Raises InvalidPreferences."""
    name = text.strip()
    if name and name not in _time_zones():
        raise InvalidPreferences([f"unknown time zone '{_shown(name)}'; use a name such as Europe/Berlin"])
    return name


def parse_language(text: str) -> str:
    """A language tag, or "" for a blank one. Raises InvalidPreferences."""
    tag = text.strip()
    if tag and (len(tag) > _MAX_LANGUAGE or not _LANGUAGE.fullmatch(tag)):
        raise InvalidPreferences([f"'{_shown(tag)}' is not a language; use a tag such as en or pt-BR"])
    return tag


def clean_name(text: str) -> str:
    """A person's name on one line, at most 200 characters; what cannot be shown is dropped.

    An encoded word (RFC 2047) is taken apart, so that no mail program decodes one that we did not write.
    """
    composed = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8"))
    shown = "".join(c for c in composed if c.isprintable() or c.isspace() or c in "\u200c\u200d")
    return " ".join(shown.replace("=?", "= ?").split())[:_MAX_NAME].rstrip()


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _shown(word: str) -> str:
    return clean_name(word)[:40]
