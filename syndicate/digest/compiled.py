"""A compiled edition: everything of it that readers share, ready to be joined. Renders and sends nothing.

It is stored as one blob, so that a retry after a restart or an upgrade has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from syndicate.digest.tokens import Context, Slot, When
from syndicate.errors import OperationError

__all__ = ["CompiledArticle", "CompiledEdition", "Fragment"]

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledArticle:
    """What a variant's own values are made of, and what tells whose it is: frozen with the text, since an
    article that is edited or removed later must not change what the next attempt sends.
    """

    id: int
    title: str
    summary: str
    sequence: int
    topic_slugs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A stretch of one part of the message that is there or not as a whole."""

    when: When
    article_ids: tuple[int, ...]  #: for When.ARTICLES: shown if one of these is
    pieces: tuple[bytes | Slot, ...]  #: quoted-printable, and the places of values
    size_bytes: int  #: decoded, without the values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledEdition:
    """One edition, rendered, inlined and encoded once. Compared by identity; by content, ``to_bytes()``."""

    edition_id: int
    articles: tuple[CompiledArticle, ...]  #: all that any reader may get, in editorial order
    html: tuple[Fragment, ...]
    text: tuple[Fragment, ...]
    head: str  #: header lines that are the same in each message
    boundary: str
    domain: str  #: of the sender, right of the @ in Message-IDs
    message_key: str  #: hex; makes Message-IDs, see ``message_ids``
    subject_template: str
    title: str  #: of the newsletter, as is the next
    description: str
    date: str  #: of the opening, as people write it

    def to_bytes(self) -> bytes:
        """The edition as a blob of ASCII JSON; equal editions give equal bytes."""
        document = {
            "format": _FORMAT,
            "edition_id": self.edition_id,
            "articles": [
                [a.id, a.title, a.summary, a.sequence, sorted(a.topic_slugs)] for a in self.articles
            ],
            "html": [_fragment_to_json(f) for f in self.html],
            "text": [_fragment_to_json(f) for f in self.text],
        } | {name: getattr(self, name) for name in _TEXT_FIELDS}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, blob: bytes) -> CompiledEdition:
        """The edition that ``to_bytes`` stored.

        Raises OperationError if the blob is damaged or of another format.
        """
        try:
            document = json.loads(blob)
            if document["format"] != _FORMAT:
                raise OperationError(f"a compiled edition of format {document['format']} cannot be read here")
            return cls(
                edition_id=document["edition_id"],
                articles=tuple(
                    CompiledArticle(id=i, title=t, summary=s, sequence=n, topic_slugs=frozenset(topics))
                    for i, t, s, n, topics in document["articles"]
                ),
                html=tuple(map(_fragment_from_json, document["html"])),
                text=tuple(map(_fragment_from_json, document["text"])),
                **{name: str(document[name]) for name in _TEXT_FIELDS},
            )
        except (ValueError, KeyError, TypeError, UnicodeError) as error:
            raise OperationError(f"a compiled edition cannot be read: {error!r}") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the blob, as hex: what an approval is bound to."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


_TEXT_FIELDS: Final = (
    "head", "boundary", "domain", "message_key", "subject_template", "title", "description", "date",
)  # fmt: skip


def _fragment_to_json(fragment: Fragment) -> dict[str, Any]:
    pieces = [p.decode("ascii") if isinstance(p, bytes) else [p.name, p.context] for p in fragment.pieces]
    return {
        "when": fragment.when,
        "article_ids": fragment.article_ids,
        "pieces": pieces,
        "size_bytes": fragment.size_bytes,
    }


def _fragment_from_json(document: dict[str, Any]) -> Fragment:
    return Fragment(
        when=When(document["when"]),
        article_ids=tuple(document["article_ids"]),
        pieces=tuple(
            p.encode("ascii") if isinstance(p, str) else Slot(name=p[0], context=Context(p[1]))
            for p in document["pieces"]
        ),
        size_bytes=document["size_bytes"],
    )
