"""Messages put together in the plainest way: what composing gives, without anything joined or kept."""

from __future__ import annotations

from collections.abc import Sequence

from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import ReaderValues
from syndicate.digest.headers import text_header, to_header, uri_header
from syndicate.digest.message_ids import message_id_of
from syndicate.digest.mime import closing, part_head, qp_piece
from syndicate.digest.plain import clean_line, excerpt
from syndicate.digest.render import render_subject
from syndicate.digest.tokens import Slot, When, encode_value

__all__ = ["compose_plainly"]


def compose_plainly(
    edition: CompiledEdition, article_ids: Sequence[int], reader: ReaderValues, *, shown: int | None = None
) -> bytes:
    """The message of these articles, of which ``shown`` have room; None for all of them."""
    chosen = [a for a in edition.articles if a.id in article_ids]
    shown_ids = {a.id for a in chosen[:shown]}
    lead, others, count = chosen[0], [a.title for a in chosen[1:]], len(chosen)
    line = {"title": edition.title, "count": count, "lead": lead.title, "date": edition.date}
    subject = render_subject(edition.subject_template, line, place="the test") or edition.title
    preheader = _preheader(others, lead.summary, edition, subject)
    values = reader._asdict() | {
        "subject": subject,
        "preheader": preheader + "\u034f\u200c\u00a0" * (75 - len(preheader) // 2),
        "count": str(count),
        "left_out": str(count - len(shown_ids)),
    }
    facts = {
        When.ALWAYS,
        When.NAMED if clean_line(reader.name) else When.UNNAMED,
        When.ONE if count == 1 else When.MANY,
        *([When.MORE] if len(shown_ids) < count else []),
    }
    head = (
        to_header(reader.address)
        + f"Message-ID: {message_id_of(edition.message_key, reader.subscriber_id, edition.domain)}\r\n"
        + uri_header("List-Unsubscribe", reader.unsubscribe_url)
        + text_header("Subject", subject)
        + edition.head
        + "\r\n"
    )
    message = head.encode()
    for subtype, fragments in (("plain", edition.text), ("html", edition.html)):
        message += part_head(edition.boundary, subtype)
        for fragment in fragments:
            if fragment.when in facts or shown_ids.intersection(fragment.article_ids):
                for piece in fragment.pieces:
                    message += _encode(piece, values) if isinstance(piece, Slot) else piece
    return message + closing(edition.boundary)


def _encode(slot: Slot, values: dict[str, str]) -> bytes:
    return qp_piece(encode_value(values[slot.name], slot.context))


def _preheader(others: Sequence[str], summary: str, edition: CompiledEdition, subject: str) -> str:
    fallback = f"{edition.title}: {edition.description or edition.date}"
    line = ""
    for text in filter(None, (*others, summary, fallback)):
        if len(line) < 40 or text in others:
            line = f"{line} · {text}" if line else text
    line = excerpt(line, 130)
    return line if line != subject else excerpt(fallback, 130)
