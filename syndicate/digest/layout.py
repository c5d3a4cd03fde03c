"""How a compiled edition becomes the bodies of messages: what stands where, and what depends on what.

What a piece of a body depends on is one bit: that of an article, or that of a group of articles one of which
is shown, such as those of a section, whose heading is there then. Everything that no choice of articles
changes is joined here once. Encodes no value and knows no reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.mime import closing, part_head
from syndicate.digest.tokens import READER_SLOTS, Slot, When

__all__ = ["Block", "Layout", "Place", "plan_layout"]

#: Bits on which a block may depend; our choice. A section of seven articles has 128 choices, whose joins are
#: kept: in an edition in which everybody chooses, 64 copies of each article.
_FEW: Final = 8

_KEPT_LAYOUTS: Final = 64  # eight an edition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Neighbouring pieces that come to one as soon as it is known which of a few bits are set."""

    bits: int  #: those on which it depends
    pieces: tuple[tuple[int, bytes], ...]  #: each there if its bit is set; with 0, always
    joined: dict[int, bytes] = field(default_factory=dict)  #: by the bits that are set, as far as asked for

    def join(self, shown: int) -> bytes:
        """The block where these bits are set."""
        joined = b"".join(piece for bit, piece in self.pieces if not bit or bit & shown)
        self.joined[shown & self.bits] = joined
        return joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value stands."""

    index: int  #: in the list of pieces
    bit: int  #: there if it is set; with 0, always
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The bodies of all messages that differ in articles and values alone.

    A body is a list of pieces: ``frame``, with blocks and values put in at their indexes. The first value of
    a reader is at ``opening``.
    """

    frame: tuple[bytes, ...]
    blocks: tuple[tuple[int, Block], ...]
    places: tuple[Place, ...]
    opening: int
    groups: tuple[tuple[int, int], ...]  #: the bits of their articles, and their own, which is set if one is


@lru_cache(maxsize=_KEPT_LAYOUTS)
def plan_layout(edition: CompiledEdition, facts: frozenset[When]) -> Layout:
    """The layout of those of an edition's messages for which these facts hold, and no others."""
    bits = _assign_bits(edition)
    frame: list[bytes] = []
    blocks: list[tuple[int, Block]] = []
    places: list[Place] = []
    run: list[tuple[int, bytes]] = []
    seen = 0
    for bit, piece in [*_pieces(edition, facts, bits), (0, None)]:
        if run and (not isinstance(piece, bytes) or (seen | bit).bit_count() > _FEW):
            block = Block(bits=seen, pieces=tuple(run))
            if seen:
                blocks.append((len(frame), block))
            frame.append(b"" if seen else block.join(0))
            run, seen = [], 0
        if isinstance(piece, bytes):
            run.append((bit, piece))
            seen |= bit
        elif piece is not None:
            places.append(Place(index=len(frame), bit=bit, slot=piece))
            frame.append(b"")
    return Layout(
        frame=tuple(frame),
        blocks=tuple(blocks),
        places=tuple(places),
        opening=next((p.index for p in places if p.slot.name in READER_SLOTS), len(frame)),
        groups=tuple(
            (sum(bits[frozenset({i})] for i in ids), bit) for ids, bit in bits.items() if len(ids) > 1
        ),
    )


def _assign_bits(edition: CompiledEdition) -> dict[frozenset[int], int]:
    """A bit for each article, the lowest for the first, then for each group that a fragment belongs to."""
    groups = [frozenset({article.id}) for article in edition.articles]
    groups += [frozenset(f.article_ids) for f in (*edition.text, *edition.html) if f.article_ids]
    return {group: 1 << i for i, group in enumerate(dict.fromkeys(groups))}


def _pieces(
    edition: CompiledEdition, facts: frozenset[When], bits: Mapping[frozenset[int], int]
) -> Iterator[tuple[int, bytes | Slot]]:
    """All that such a message may have, in order, each with the bit that it needs."""
    for subtype, fragments in (("plain", edition.text), ("html", edition.html)):
        yield 0, part_head(edition.boundary, subtype)
        for fragment in fragments:
            if fragment.when is When.ARTICLES and fragment.article_ids:
                yield from ((bits[frozenset(fragment.article_ids)], piece) for piece in fragment.pieces)
            elif fragment.when in facts:
                yield from ((0, piece) for piece in fragment.pieces)
    yield 0, closing(edition.boundary)
