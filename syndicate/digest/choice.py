"""Which of a reader's new articles a message has room for. Articles are bits of a number, in editorial order.

Chooses nothing that a limit does not take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.teaser import make_preheader, make_subject, pad_preheader
from syndicate.digest.tokens import VARIANT_SLOTS, Slot, When, encode_value

__all__ = ["HTML_LIMIT_BYTES", "choose", "find_fitting"]

#: Gmail clips a message whose decoded HTML is longer.
HTML_LIMIT_BYTES: Final = 102_400
_MARGIN_BYTES: Final = 4_096  # for what readers' own values add
_MAX_VALUE_BYTES: Final = 6 * 900  # the longest value of a variant, each character written as an entity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Index:
    """What finds articles of an edition, and tells at a glance that some fit."""

    bits: dict[int, int]  #: by id
    most: int  #: for so many of them there is room, however long they and the variant's own values are


@lru_cache(maxsize=8)
def _index(edition: CompiledEdition) -> _Index:
    sizes_bytes = sorted(
        (
            sum(f.size_bytes for f in edition.html if article.id in f.article_ids)
            for article in edition.articles
        ),
        reverse=True,
    )
    room_bytes = _room_bytes(edition) - _MAX_VALUE_BYTES * len(_variant_slots(edition))
    return _Index(
        bits={article.id: 1 << i for i, article in enumerate(edition.articles)},
        most=bisect_right(list(accumulate(sizes_bytes)), room_bytes),
    )


def choose(edition: CompiledEdition, article_ids: Collection[int]) -> int:
    """The articles, a bit for each, the lowest for the first in editorial order.

    Raises ValueError for one that the edition does not have.
    """
    bits = _index(edition).bits
    if unknown := sorted(set(article_ids) - bits.keys()):
        raise ValueError(f"edition {edition.edition_id} has no articles {unknown}")
    return sum(bits[i] for i in set(article_ids))


def find_fitting(edition: CompiledEdition, chosen: int) -> int:
    """Those of the chosen articles, from the first, that the message has room for, at least one.

    Raises ValueError for no article.
    """
    if not chosen:
        raise ValueError("no articles")
    return chosen if chosen.bit_count() <= _index(edition).most else _fitting(edition, chosen)


def _fitting(edition: CompiledEdition, chosen: int) -> int:
    subject = make_subject(edition, chosen & -chosen, chosen.bit_count())
    preheader = pad_preheader(make_preheader(edition, chosen, subject))
    values = {"subject": subject, "preheader": preheader, "count": "9999", "left_out": "9999"}
    room_bytes = _room_bytes(edition) - sum(
        len(encode_value(values[slot.name], slot.context).encode()) for slot in _variant_slots(edition)
    )
    left = [f for f in edition.html if f.when is When.ARTICLES]
    shown = 0
    for i, article in enumerate(edition.articles):
        if chosen >> i & 1:
            room_bytes -= sum(f.size_bytes for f in left if article.id in f.article_ids)
            if room_bytes < 0 and shown:
                break
            left = [f for f in left if article.id not in f.article_ids]
            shown |= 1 << i
    return shown


def _room_bytes(edition: CompiledEdition) -> int:
    """How long articles and values of a variant may be together in HTML."""
    frame = sum(f.size_bytes for f in edition.html if f.when is not When.ARTICLES)
    return HTML_LIMIT_BYTES - _MARGIN_BYTES - frame


def _variant_slots(edition: CompiledEdition) -> list[Slot]:
    """The slots for values of a variant that stand in the HTML outside of articles."""
    frame = (f for f in edition.html if f.when is not When.ARTICLES)
    return [p for f in frame for p in f.pieces if isinstance(p, Slot) and p.name in VARIANT_SLOTS]
