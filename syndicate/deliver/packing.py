"""A message as it goes to a server with these extensions: its commands and its content. No I/O.

Refuses here what the server would not take, or what could say something else to it than we mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from syndicate.deliver.outcome import Envelope, Stage
from syndicate.deliver.replies import Extensions
from syndicate.deliver.wire import encode_content, encode_path
from syndicate.errors import AddressError, OperationError

__all__ = ["Packer", "Parcel", "RefusedError"]


class RefusedError(Exception):
    """It cannot go out: ``stage`` is MAIL for the sender's address, ENVELOPE for the recipient's, or DATA."""

    def __init__(self, stage: Stage, words: str) -> None:
        self.stage = stage
        super().__init__(words)


@dataclass(slots=True, kw_only=True, eq=False)
class Parcel:
    """A message on its way: as it is written, and what is known of it."""

    envelope: Envelope
    mail: bytes
    rcpt: bytes
    content: tuple[bytes, ...]  #: with its final dot
    content_bytes: int
    is_refused_recipient: bool = False
    is_settled: bool = False  #: what became of it is known; whatever is still said about it is noise


class Packer:
    """Packs messages for one connection."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._sender, self._path = "", b""  #: an edition has one sender, or each reader another one

    def pack(self, envelope: Envelope) -> Parcel:
        """The message for the wire. Raises RefusedError."""
        needs_utf8 = not envelope.recipient.isascii() and envelope.needs_utf8
        if needs_utf8 and not self._extensions.has_smtputf8:
            words = "has letters beyond ASCII before the @; the relay does not take such addresses"
            raise RefusedError(Stage.ENVELOPE, f"5.6.7 {envelope.recipient!a} {words}")
        try:
            recipient = encode_path(envelope.recipient, is_utf8=needs_utf8)
        except AddressError as error:
            raise RefusedError(Stage.ENVELOPE, str(error)) from None
        try:
            content, content_bytes, options = self._encode(envelope, needs_utf8=needs_utf8)
        except OperationError as error:
            raise RefusedError(Stage.DATA, str(error)) from None
        if envelope.sender != self._sender:
            try:
                self._path = encode_path(envelope.sender)
            except AddressError as error:
                raise RefusedError(Stage.MAIL, f"sender {error}") from None
            self._sender = envelope.sender
        return Parcel(
            envelope=envelope,
            mail=b"MAIL FROM:%b%b\r\n" % (self._path, options),
            rcpt=b"RCPT TO:%b\r\n" % recipient,
            content=content,
            content_bytes=content_bytes,
        )

    def _encode(self, envelope: Envelope, *, needs_utf8: bool) -> tuple[tuple[bytes, ...], int, bytes]:
        """Content, its size, parameters of MAIL. Raises OperationError if the server would not take it."""
        pieces, offered = envelope.pieces, self._extensions
        size = sum(map(len, pieces))  # before dots are doubled (RFC 1870 section 5)
        if 0 < offered.max_bytes < size:
            raise OperationError(f"the message has {size} bytes; the relay takes {offered.max_bytes}")
        options = b" SIZE=%d" % size if offered.has_size else b""
        if needs_utf8:
            options += b" BODY=8BITMIME SMTPUTF8"  # the address is in a header too (RFC 6531 section 3.6)
        if envelope.is_canonical:
            return (*pieces, b".\r\n"), size + 3, options
        message = b"".join(pieces)
        if not (needs_utf8 or message.isascii()):
            if not offered.has_8bitmime:
                raise OperationError("the message is not 7-bit clean, and the relay takes nothing else")
            options += b" BODY=8BITMIME"
        content = encode_content(message)
        return (content,), len(content), options
