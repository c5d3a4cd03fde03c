"""The feed formats on offer. Builds nothing itself.

To add one: a module with a ``build_*`` that takes a Feed and gives bytes, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from syndicate.publish.feed import Feed
from syndicate.publish.jsonfeed import JSON_TYPE, build_json
from syndicate.publish.rss_atom import ATOM_TYPE, RSS_TYPE, build_atom, build_rss

__all__ = ["FORMATS", "FeedFormat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFormat:
    """One way to write a feed."""

    name: str  #: for people: the title of its link
    path_suffix: str  #: the last part of its address
    media_type: str  #: with its charset
    build: Callable[[Feed], bytes]  #: pure; equal feeds, equal bytes


_UTF_8: Final = "; charset=utf-8"

#: By the key that commands, addresses and the cache use, in the order in which pages list them.
FORMATS: Final[dict[str, FeedFormat]] = {
    "rss": FeedFormat(name="RSS", path_suffix="feed.xml", media_type=RSS_TYPE + _UTF_8, build=build_rss),
    "atom": FeedFormat(name="Atom", path_suffix="atom.xml", media_type=ATOM_TYPE + _UTF_8, build=build_atom),
    "json": FeedFormat(
        name="JSON Feed", path_suffix="feed.json", media_type=JSON_TYPE + _UTF_8, build=build_json
    ),
}
