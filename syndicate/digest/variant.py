"""What readers with the same articles share of a message: planned, and put together out of joined blocks.

Knows no reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final

from syndicate.digest.choice import choose, find_fitting
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.headers import text_header
from syndicate.digest.layout import Block, Layout, plan_layout
from syndicate.digest.teaser import encode_preheader, make_preheader, make_subject
from syndicate.digest.tokens import READER_SLOTS, Context, When
from syndicate.digest.values import value_piece

__all__ = ["Plan", "ReaderPlace", "Variant", "plan_variant", "put_together"]

_KEPT_VARIANTS: Final = 512
_KEPT_FORMS: Final = 512  # some kilobytes each

#: Where a reader's value belongs: index in the body, index in READER_SLOTS, and how it is encoded there.
ReaderPlace = tuple[int, int, Context]

#: Makes a body out of the pieces of a variant's and those of a reader's values after them.
Pick = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a variant has, in words."""

    article_ids: tuple[int, ...]  #: shown, in editorial order
    left_out: tuple[int, ...]  #: did not fit; the message says how many and links to the web
    subject: str
    preheader: str


@dataclass(slots=True, kw_only=True, eq=False)  # not frozen: it would take twice as long to make
class Variant:
    """What the messages of readers with the same articles have in common; compared by identity."""

    head: bytes  #: the header lines Subject, From and so on, with a CRLF at the end of each
    prefix: bytes  #: how the body begins, up to the first value of a reader
    body: tuple[bytes, ...]  #: ``prefix``, then the rest, with empty pieces where readers' values belong
    places: tuple[ReaderPlace, ...]
    pick: Pick | None  #: puts readers' values in their places; None if some depend on more than the value


def plan_variant(edition: CompiledEdition, article_ids: tuple[int, ...]) -> Plan:
    """What readers of these articles see, and which of them a message has no room for.

    Raises TemplateError if the newsletter's subject cannot be rendered, and ValueError for no article, or
    one that the edition does not have.
    """
    chosen = choose(edition, article_ids)
    shown = find_fitting(edition, chosen)
    subject = make_subject(edition, chosen & -chosen, chosen.bit_count())
    ids = [(article.id, 1 << i) for i, article in enumerate(edition.articles)]
    return Plan(
        article_ids=tuple(i for i, bit in ids if bit & shown),
        left_out=tuple(i for i, bit in ids if bit & chosen & ~shown),
        subject=subject,
        preheader=make_preheader(edition, chosen, subject),
    )


@lru_cache(maxsize=_KEPT_VARIANTS)
def put_together(
    edition: CompiledEdition,
    chosen: int,
    is_named: bool,  # noqa: FBT001 - a cache key
) -> Variant:
    """The variant of the articles with these bits, for readers whose name is known or not.

    Raises as ``plan_variant``.
    """
    shown = find_fitting(edition, chosen)
    form = _form(edition, chosen & -chosen, chosen.bit_count(), (chosen ^ shown).bit_count(), is_named)
    for articles, bit in form.groups:
        if articles & shown:
            shown |= bit
    body = list(form.frame)
    for i, block in form.blocks:
        body[i] = block.joined.get(shown & block.bits) or block.join(shown)
    for i, context in form.preheaders:
        body[i] = encode_preheader(edition, chosen, form.subject, context)
    places, pick = form.places, form.pick
    for index, bit, place in form.sometimes:
        if not bit & shown:
            body[index] = b""
        elif place is not None:
            places, pick = (*places, place), None
    if form.opening > 1:
        body[: form.opening] = [b"".join(body[: form.opening])]
    return Variant(head=form.head, prefix=body[0], body=tuple(body), places=places, pick=pick)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Form:
    """A variant of which all is known but which articles follow the first one."""

    head: bytes
    subject: str
    frame: tuple[bytes, ...]  #: of the layout, with every value in it that is known
    opening: int  #: how many pieces of it come to the prefix
    blocks: tuple[tuple[int, Block], ...]
    preheaders: tuple[tuple[int, Context], ...]
    places: tuple[ReaderPlace, ...]  #: that are always there
    sometimes: tuple[tuple[int, int, ReaderPlace | None], ...]  #: values: index, bit, and place if a reader's
    groups: tuple[tuple[int, int], ...]  #: as in the layout
    pick: Pick | None  #: for ``places``


@lru_cache(maxsize=_KEPT_FORMS)
def _form(
    edition: CompiledEdition,
    lead: int,
    count: int,
    left_out: int,
    is_named: bool,  # noqa: FBT001 - a cache key
) -> _Form:
    facts = {When.ALWAYS, When.NAMED if is_named else When.UNNAMED, When.ONE if count == 1 else When.MANY}
    layout = plan_layout(edition, frozenset(facts | {When.MORE} if left_out else facts))
    subject = make_subject(edition, lead, count)
    frame, moved = _merge(layout, {"subject": subject, "count": str(count), "left_out": str(left_out)})
    opening = moved.get(layout.opening, len(frame))
    readers = {
        p: (moved[p.index] - opening + 1, READER_SLOTS.index(p.slot.name), p.slot.context)
        for p in layout.places
        if p.slot.name in READER_SLOTS
    }
    places = tuple(place for p, place in readers.items() if not p.bit)
    return _Form(
        head=(text_header("Subject", subject) + edition.head).encode("ascii"),
        subject=subject,
        frame=tuple(frame),
        opening=opening,
        blocks=tuple((moved[i], block) for i, block in layout.blocks),
        preheaders=tuple(
            (moved[p.index], p.slot.context) for p in layout.places if p.slot.name == "preheader"
        ),
        places=places,
        sometimes=tuple((moved[p.index], p.bit, readers.get(p)) for p in layout.places if p.bit),
        groups=layout.groups,
        pick=_pick(len(frame) - opening + 1, places),
    )


def _merge(layout: Layout, values: Mapping[str, str]) -> tuple[list[bytes], dict[int, int]]:
    """The frame with these values in it and neighbours joined; the new indexes of what is not known yet."""
    frame = list(layout.frame)
    unknown = {i for i, _ in layout.blocks}
    for place in layout.places:
        if place.slot.name in values:
            frame[place.index] = value_piece(values[place.slot.name], place.slot.context)
        if place.slot.name not in values or place.bit:
            unknown.add(place.index)
    merged: list[bytes] = []
    moved: dict[int, int] = {}
    for is_known, indexes in groupby(range(len(frame)), lambda i: i not in unknown):
        if is_known:
            merged.append(b"".join(frame[i] for i in indexes))
        else:
            for i in indexes:
                moved[i] = len(merged)
                merged.append(frame[i])
    return merged, moved


def _pick(length: int, places: Sequence[ReaderPlace]) -> Pick | None:
    if any(context is Context.COMPONENT for _, _, context in places):
        return None
    indexes = list(range(length))
    for index, number, _ in places:
        indexes[index] = length + number
    return itemgetter(*indexes)
