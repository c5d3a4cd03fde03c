"""A compiled edition and a reader -> a message, in pieces. Renders no page and inlines nothing.

What readers with the same articles share, a variant, is kept; a reader costs the encoding of a handful of
values. Knows no delivery and no signature.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from syndicate.digest.choice import choose
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.headers import encode_address
from syndicate.digest.message_ids import message_id_of
from syndicate.digest.plain import clean_line
from syndicate.digest.tokens import Context
from syndicate.digest.values import require_url, usual_pieces, value_piece
from syndicate.digest.variant import Plan, Variant, plan_variant, put_together

__all__ = [
    "ComposedMessage",
    "Plan",
    "ReaderValues",
    "Variant",
    "compose_chosen",
    "compose_message",
    "plan_variant",
]


class ReaderValues(NamedTuple):
    """What a message has of one reader. A tuple: a million of them are made, and a dataclass takes longer."""

    subscriber_id: int
    address: str
    name: str  #: may be empty; then the template's greeting without a name is taken
    unsubscribe_url: str
    preferences_url: str


class ComposedMessage(NamedTuple):
    """A whole message: ``own_head``, then the variant's head, an empty line, and the body."""

    variant: Variant  #: the same object for messages that share it, as long as it is kept
    own_head: bytes  #: the header lines To, Message-ID and List-Unsubscribe
    body: tuple[bytes, ...]  #: the first piece is the variant's prefix

    @property
    def size(self) -> int:
        """Bytes, without a signature."""
        return sum(map(len, self.pieces()))

    def pieces(self, signature: bytes = b"") -> tuple[bytes, ...]:
        """What comes to the whole message, with header lines that sign it before all others."""
        return signature, self.own_head, self.variant.head, b"\r\n", *self.body

    def to_bytes(self, signature: bytes = b"") -> bytes:
        """The whole message in one piece: CRLF lines, ready to be sent."""
        return b"".join(self.pieces(signature))


def compose_message(
    edition: CompiledEdition, article_ids: Collection[int], reader: ReaderValues
) -> ComposedMessage:
    """The reader's message, the same bytes each time.

    ``article_ids`` are those that are new to the reader, in any order. Raises what ``compose_chosen`` does,
    and ValueError for an article that the edition does not have.
    """
    return compose_chosen(edition, choose(edition, article_ids), reader)


def compose_chosen(edition: CompiledEdition, chosen: int, reader: ReaderValues) -> ComposedMessage:
    """The same for articles of which each is a bit, the lowest that of the edition's first.

    Raises AddressError for an address that mail cannot be sent to, OperationError for a URL that is none,
    TemplateError if the newsletter's subject cannot be rendered, and ValueError for no article.
    """
    subscriber_id, address, name, unsubscribe_url, preferences_url = reader
    values = name, address, unsubscribe_url, preferences_url
    pieces = usual_pieces(values)
    if pieces is None:
        name, address = clean_line(name), encode_address(address)
        require_url(unsubscribe_url)
        require_url(preferences_url)
    variant = put_together(edition, chosen, bool(name))
    own_head = (
        f"To: {address}\r\n"
        f"Message-ID: {message_id_of(edition.message_key, subscriber_id, edition.domain)}\r\n"
        f"List-Unsubscribe: <{unsubscribe_url}>\r\n"
    )
    if pieces is None or variant.pick is None:
        body = _fill(variant, values)
    else:
        body = variant.pick(variant.body + pieces)
    return ComposedMessage(variant, own_head.encode(), body)


def _fill(variant: Variant, values: tuple[str, str, str, str]) -> tuple[bytes, ...]:
    """The body, where not everything is as usual: each value encoded for each of its places."""
    usual = usual_pieces(("", *values[1:]))
    body = list(variant.body)
    for index, number, context in variant.places:
        if usual and number and context is not Context.COMPONENT:
            body[index] = usual[number]
        else:
            body[index] = value_piece(values[number], context)
    return tuple(body)
