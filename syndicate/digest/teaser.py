"""What a list of mails shows of a message: subject and preheader. Knows no message and no layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.mime import LINE_LIMIT, fold, qp_piece
from syndicate.digest.plain import excerpt
from syndicate.digest.render import render_subject
from syndicate.digest.tokens import Context
from syndicate.digest.values import value_piece

__all__ = ["encode_preheader", "make_preheader", "make_subject", "pad_preheader"]

_PREHEADER: Final = range(40, 131)  # characters: fewer look lost in a list of mails, more are not shown
_JOINT: Final = " · "
_FILLER: Final = "\u034f\u200c\u00a0"  # keeps the text that follows out of the list of mails
_KEPT: Final = 4_096  # far more variants share them


@lru_cache(maxsize=_KEPT)
def make_subject(edition: CompiledEdition, lead: int, count: int) -> str:
    """The subject of a message of that many articles, of which the one of the bit ``lead`` is the first.

    Raises TemplateError if the newsletter's template cannot be rendered.
    """
    values: dict[str, str | int] = {
        "title": edition.title,
        "count": count,
        "lead": edition.articles[lead.bit_length() - 1].title,
        "date": edition.date,
    }
    subject = render_subject(edition.subject_template, values, place=f"subject of '{edition.title}'")
    return subject or edition.title


def make_preheader(edition: CompiledEdition, chosen: int, subject: str) -> str:
    """The line behind the subject: the titles after the first one, then what they are about.

    ``chosen`` has a bit for each article that is new to the reader.
    """
    return _make_preheader(edition, *_what_matters(edition, chosen), subject)


def encode_preheader(edition: CompiledEdition, chosen: int, subject: str, context: Context) -> bytes:
    """The preheader in its place, padded, in quoted-printable."""
    return _encode_preheader(edition, *_what_matters(edition, chosen), subject, context)


def pad_preheader(preheader: str) -> str:
    """The preheader and blanks that nobody sees, which keep the text after it out of the list."""
    return preheader + _FILLER * (75 - len(preheader) // 2)


def _what_matters(edition: CompiledEdition, chosen: int) -> tuple[int, bool]:
    """As many articles after the first one as there may be room for, and False; or all, and True."""
    rest = chosen
    for _ in range(_count_enough(edition)):
        rest &= rest - 1
    first = chosen & -chosen
    return (chosen ^ rest ^ first, False) if rest else (chosen, True)


@lru_cache(maxsize=_KEPT)
def _encode_preheader(
    edition: CompiledEdition,
    articles: int,
    are_all: bool,  # noqa: FBT001 - a cache key
    subject: str,
    context: Context,
) -> bytes:
    preheader = _make_preheader(edition, articles, are_all, subject)
    if context is Context.COMPONENT:
        return value_piece(pad_preheader(preheader), context)
    text = value_piece(preheader, context).removesuffix(b"=\r\n")
    column = len(text) - (text.rfind(b"\n") + 1)
    return text + _encode_padding(len(preheader), column)


@lru_cache(maxsize=_KEPT)
def _encode_padding(length: int, column: int) -> bytes:
    """What follows a preheader of that length in quoted-printable whose last line has come to a column."""
    filler = qp_piece(pad_preheader(" " * length)[length:]).replace(b"=\r\n", b"").decode("ascii")
    here = (LINE_LIMIT - column) // 3 * 3
    return filler[:here].encode("ascii") + b"=\r\n" + fold(filler[here:])


def _make_preheader(
    edition: CompiledEdition,
    articles: int,
    are_all: bool,  # noqa: FBT001 - as above
    subject: str,
) -> str:
    found = [edition.articles[i] for i in _indexes(articles)]
    titles = [article.title for article in (found[1:] if are_all else found)]
    fallback = f"{edition.title}: {edition.description or edition.date}"
    line = _JOINT.join(filter(None, titles))
    if are_all:
        for text in filter(None, (found[0].summary, fallback)):
            if len(line) < _PREHEADER.start or text in titles:
                line = f"{line}{_JOINT}{text}" if line else text
    line = excerpt(line, _PREHEADER.stop - 1)
    return line if line != subject else excerpt(fallback, _PREHEADER.stop - 1)


def _indexes(articles: int) -> Iterator[int]:
    while articles:
        yield (articles & -articles).bit_length() - 1
        articles &= articles - 1


@lru_cache(maxsize=8)
def _count_enough(edition: CompiledEdition) -> int:
    """How many articles fill a preheader for sure, with the first one, whose title is not in it."""
    count, length = 1, 0
    for title in sorted((a.title for a in edition.articles), key=len):
        if length - len(_JOINT) >= _PREHEADER.stop:
            break
        count += 1
        length += len(title) + len(_JOINT) if title else 0
    return count
