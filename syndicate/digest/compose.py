"""A compiled edition and a reader -> the bytes of a message. Renders no page and inlines nothing.

What readers with the same articles share, a variant, is joined once and kept; a reader costs the encoding
of a handful of values and one join. Knows no delivery and no signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from syndicate.digest.compiled import CompiledArticle, CompiledEdition
from syndicate.digest.headers import encode_address, fixed, text_header, uri_header
from syndicate.digest.mime import closing, part_head, qp_piece
from syndicate.digest.plain import clean_line, excerpt
from syndicate.digest.render import render_subject
from syndicate.digest.tokens import VARIANT_SLOTS, Slot, When, encode_value

__all__ = ["HTML_LIMIT_BYTES", "ReaderValues", "Variant", "compose_message", "plan_variant"]

#: Gmail clips a message whose decoded HTML is longer.
HTML_LIMIT_BYTES: Final = 102_400
_MARGIN_BYTES: Final = 4_096  # for what readers' own values add
_PREHEADER: Final = range(40, 131)  # characters: fewer look lost in a list of mails, more are not shown
_FILLER: Final = "\u034f\u200c\u00a0"  # keeps the text that follows out of the list of mails
_KEPT_VARIANTS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderValues:
    """What a message has of one reader."""

    subscriber_id: int
    address: str
    name: str  #: may be empty; then the template's greeting without a name is taken
    unsubscribe_url: str
    preferences_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What all readers with the same new articles see."""

    article_ids: tuple[int, ...]  #: shown, in editorial order
    left_out: tuple[int, ...]  #: did not fit; the message says how many and links to the web
    subject: str
    preheader: str


def compose_message(edition: CompiledEdition, article_ids: Sequence[int], reader: ReaderValues) -> bytes:
    """The reader's message: CRLF lines, ready to be signed and sent, the same bytes each time.

    ``article_ids`` are those that are new to the reader, in any order. Raises AddressError for an address
    that mail cannot be sent to, OperationError for a URL that is none, TemplateError if the newsletter's
    subject cannot be rendered, and ValueError for no article, or one that the edition does not have.
    """
    shared, slots = _join_variant(edition, tuple(article_ids), bool(clean_line(reader.name)))
    values = {slot: qp_piece(encode_value(getattr(reader, slot.name), slot.context)) for slot in slots}
    own_head = (
        fixed("To", encode_address(reader.address))
        + fixed("Message-ID", edition.message_id(reader.subscriber_id))
        + uri_header("List-Unsubscribe", reader.unsubscribe_url)
    )
    return own_head.encode("ascii") + b"".join(
        piece if isinstance(piece, bytes) else values[piece] for piece in shared
    )


@lru_cache(maxsize=_KEPT_VARIANTS)
def plan_variant(edition: CompiledEdition, article_ids: tuple[int, ...]) -> Variant:
    """What readers of these articles see, and which of them a message has no room for.

    Raises TemplateError if the newsletter's subject cannot be rendered, and ValueError for no article, or
    one that the edition does not have.
    """
    chosen = _in_order(edition, article_ids)
    values: dict[str, str | int] = {
        "title": edition.title,
        "count": len(chosen),
        "lead": chosen[0].title,
        "date": edition.date,
    }
    subject = render_subject(edition.subject_template, values, place=f"subject of '{edition.title}'")
    subject = subject or edition.title
    preheader = _preheader(chosen, subject, f"{edition.title}: {edition.description or edition.date}")
    shown = _fitting(edition, chosen, subject, preheader)
    return Variant(
        article_ids=tuple(a.id for a in chosen[:shown]),
        left_out=tuple(a.id for a in chosen[shown:]),
        subject=subject,
        preheader=preheader,
    )


@lru_cache(maxsize=_KEPT_VARIANTS)
def _join_variant(
    edition: CompiledEdition,
    article_ids: tuple[int, ...],
    is_named: bool,  # noqa: FBT001 - a cache key
) -> tuple[tuple[bytes | Slot, ...], frozenset[Slot]]:
    """Everything of a variant but the readers' own headers, neighbours merged; and its slots."""
    variant = plan_variant(edition, article_ids)
    values = _variant_values(variant)
    facts = {
        When.ALWAYS: True,
        When.NAMED: is_named,
        When.UNNAMED: not is_named,
        When.ONE: values["count"] == "1",
        When.MANY: values["count"] != "1",
        When.MORE: bool(variant.left_out),
    }
    shown = frozenset(variant.article_ids)
    pieces: list[bytes | Slot] = [
        (text_header("Subject", variant.subject) + edition.head + "\r\n").encode("ascii")
    ]
    for subtype, fragments in (("plain", edition.text), ("html", edition.html)):
        pieces.append(part_head(edition.boundary, subtype))
        for fragment in fragments:
            if facts.get(fragment.when, False) or not shown.isdisjoint(fragment.article_ids):
                pieces += (_filled(p, values) for p in fragment.pieces)
    pieces.append(closing(edition.boundary))
    merged = _merge(pieces)
    return merged, frozenset(p for p in merged if isinstance(p, Slot))


def _in_order(edition: CompiledEdition, article_ids: tuple[int, ...]) -> list[CompiledArticle]:
    wanted = set(article_ids)
    chosen = [a for a in edition.articles if a.id in wanted]
    if not chosen or len(chosen) < len(wanted):
        unknown = sorted(wanted - {a.id for a in chosen})
        raise ValueError(
            f"edition {edition.edition_id} has no articles {unknown}" if unknown else "no articles"
        )
    return chosen


def _fitting(
    edition: CompiledEdition, chosen: Sequence[CompiledArticle], subject: str, preheader: str
) -> int:
    """How many of the chosen articles, from the first, the message has room for; at least one."""
    values = {"subject": subject, "preheader": _padded(preheader), "count": "9999", "left_out": "9999"}
    frame = [f for f in edition.html if f.when is not When.ARTICLES]
    room = HTML_LIMIT_BYTES - _MARGIN_BYTES - sum(f.size_bytes for f in frame)
    room -= sum(len(_plain_value(p, values).encode()) for f in frame for p in f.pieces if isinstance(p, Slot))
    left = [f for f in edition.html if f.when is When.ARTICLES]
    for number, article in enumerate(chosen):
        room -= sum(f.size_bytes for f in left if article.id in f.article_ids)
        if room < 0 and number:
            return number
        left = [f for f in left if article.id not in f.article_ids]
    return len(chosen)


def _preheader(chosen: Sequence[CompiledArticle], subject: str, fallback: str) -> str:
    """The line behind the subject in a list of mails: the other titles, then what they are about."""
    candidates = [*(a.title for a in chosen[1:]), chosen[0].summary, fallback]
    line = ""
    for text in filter(None, candidates):
        if len(line) < _PREHEADER.start or text in {a.title for a in chosen[1:]}:
            line = f"{line} · {text}" if line else text
    line = excerpt(line, _PREHEADER.stop - 1)
    return line if line != subject else excerpt(fallback, _PREHEADER.stop - 1)


def _variant_values(variant: Variant) -> dict[str, str]:
    return {
        "subject": variant.subject,
        "preheader": _padded(variant.preheader),
        "count": str(len(variant.article_ids) + len(variant.left_out)),
        "left_out": str(len(variant.left_out)),
    }


def _padded(preheader: str) -> str:
    return preheader + _FILLER * (75 - len(preheader) // 2)


def _plain_value(slot: Slot, values: dict[str, str]) -> str:
    return encode_value(values[slot.name], slot.context) if slot.name in VARIANT_SLOTS else ""


def _filled(piece: bytes | Slot, values: dict[str, str]) -> bytes | Slot:
    if isinstance(piece, bytes) or piece.name not in VARIANT_SLOTS:
        return piece
    return qp_piece(_plain_value(piece, values))


def _merge(pieces: Iterable[bytes | Slot]) -> tuple[bytes | Slot, ...]:
    merged: list[bytes | Slot] = []
    for piece in pieces:
        if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)
