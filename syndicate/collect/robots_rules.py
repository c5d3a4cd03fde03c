"""What a robots.txt says to us (RFC 9309). Pure: takes bytes, fetches nothing, remembers nothing.

The standard library's parser knows no ``*`` and ``$``, takes the first rule that fits instead of the longest,
and ends a group at an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

__all__ = ["ALLOW_ALL", "DISALLOW_ALL", "RobotsRules", "parse_robots"]

#: RFC 9309 section 2.5: at least this much is read.
_MOST_BYTES: Final = 500 * 1024
#: No site gets more of a pause between two pages; our choice, since the field is of no standard.
_LONGEST_DELAY_S: Final = 60.0
_ESCAPE: Final = re.compile(r"%([0-9a-fA-F]{2})")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotsRules:
    """What one agent may do at one site."""

    rules: tuple[tuple[str, bool], ...] = ()  #: pattern and whether it allows; the strongest first
    crawl_delay_s: float | None = None  #: the pause that is asked for between two pages, at most a minute
    sitemaps: tuple[str, ...] = ()  #: as they stand there, in order

    def may_fetch(self, path: str) -> bool:
        """Whether a path with its query may be fetched: the longest pattern decides (RFC 9309 section 2.2.2).

        robots.txt itself always may.
        """
        path = _normalised(path)
        if path == "/robots.txt":
            return True
        return next((is_allowed for pattern, is_allowed in self.rules if _matches(pattern, path)), True)


ALLOW_ALL: Final = RobotsRules()
DISALLOW_ALL: Final = RobotsRules(rules=(("/", False),))


def parse_robots(body: bytes, *, agent: str) -> RobotsRules:
    """The rules in a robots.txt for an agent, or those for everybody if it is not named.

    Never fails: a line that says nothing is passed over, as is everything behind the first 500 KiB.
    """
    lines = list(_iter_fields(body[:_MOST_BYTES]))
    own, everybody = _split_groups(lines, agent.lower())
    chosen = everybody if own is None else own
    return RobotsRules(
        rules=tuple(_sorted_rules(chosen)),
        crawl_delay_s=_find_delay_s(chosen),
        sitemaps=tuple(value for name, value in lines if name == "sitemap" and value),
    )


def _iter_fields(body: bytes) -> Iterator[tuple[str, str]]:
    # Not splitlines(), which ends lines at characters that may stand in a path.
    for line in re.split(r"\r\n|\r|\n", body.decode("utf-8-sig", "replace")):
        name, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


def _split_groups(
    lines: Iterable[tuple[str, str]], agent: str
) -> tuple[list[tuple[str, str]] | None, list[tuple[str, str]]]:
    """The fields of all groups that name the agent (None if there is none), and of those for everybody."""
    own: list[tuple[str, str]] | None = None
    everybody: list[tuple[str, str]] = []
    agents: set[str] = set()
    is_heading = False
    for name, value in lines:
        if name == "user-agent":
            if not is_heading:
                agents = set()
            # Only the product counts: "Syndicate/1.0" and "Syndicate (news)" are both Syndicate.
            agents.add(re.split(r"[/\s]", value.lower())[0])
            is_heading = True
            if agent in agents and own is None:
                own = []
            continue
        is_heading = is_heading and name == "sitemap"  # it belongs to no group and ends none
        if agent in agents and own is not None:
            own.append((name, value))
        if "*" in agents:
            everybody.append((name, value))
    return own, everybody


def _sorted_rules(fields: Iterable[tuple[str, str]]) -> list[tuple[str, bool]]:
    rules = {
        (_normalised(value), name == "allow")
        for name, value in fields
        if name in {"allow", "disallow"} and value.startswith(("/", "*"))
    }
    # The longest first; of two that are equal the one that allows (RFC 9309 section 2.2.2).
    return sorted(rules, key=lambda rule: (-len(rule[0]), not rule[1], rule[0]))


def _find_delay_s(fields: Iterable[tuple[str, str]]) -> float | None:
    delays = [float(v) for name, v in fields if name == "crawl-delay" and _SECONDS.fullmatch(v)]
    return min(max(delays), _LONGEST_DELAY_S) if delays else None


def _normalised(path: str) -> str:
    """Octets in their one form (RFC 9309 section 2.2.2): unreserved ones plain, other escapes in capitals."""

    def escape(match: re.Match[str]) -> str:
        plain = chr(int(match[1], 16))
        return plain if plain in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(escape, _NOT_ASCII.sub(lambda match: quote(match[0]), path))


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern fits the beginning of a path, or all of it if it ends in ``$``. Never backtracks."""
    is_whole = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    last = others.pop() if others and is_whole else None
    for part in others:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    if last is None:
        return not is_whole or at == len(path)
    return path.endswith(last) and len(path) - len(last) >= at
