"""Addresses and content as they go on the wire. Opens no connection.

Repairs nothing silently: a comment taken out of an address makes it another one, and a bare CR or LF turned
into a line end is how mail is smuggled.
"""

from __future__ import annotations

import re
from typing import Final

from email_validator import EmailNotValidError, validate_email

from syndicate.errors import AddressError, OperationError

__all__ = ["encode_content", "encode_path"]

#: Printable ASCII without blanks and angle brackets around the last @: nothing that could end the path of a
#: command or begin a parameter.
_ASCII_ADDRESS: Final = re.compile(r"[!-;=?-~]+@[!-;=?A-~]+")

#: The same with whatever may stand in an address of RFC 6531; what cannot be printed is refused beside it.
_UTF8_ADDRESS: Final = re.compile(r"[^\s<>]+@[^\s<>@]+")

#: A path of 256 octets without its angle brackets (RFC 5321 section 4.5.3.1.3).
_MAX_ADDRESS: Final = 254


def encode_path(address: str, *, is_utf8: bool = False) -> bytes:
    """The path ``<address>`` of MAIL and RCPT (RFC 5321 section 4.1.2), the domain as A-labels.

    ``is_utf8`` is for a server that offers SMTPUTF8 (RFC 6531 section 3.3): then an address beyond ASCII goes
    out as it is, in UTF-8. Raises AddressError for controls, blanks, angle brackets, more than 254 octets,
    and without ``is_utf8`` for a local part beyond ASCII.
    """
    if _ASCII_ADDRESS.fullmatch(address) and len(address) <= _MAX_ADDRESS:
        return f"<{address}>".encode("ascii")
    if is_utf8:
        text, form = address, _UTF8_ADDRESS
    else:
        text, form = address if address.isascii() else _with_a_labels(address), _ASCII_ADDRESS
    if not (form.fullmatch(text) and text.isprintable()):
        raise AddressError(address, "cannot be put into an SMTP command; write it as name@example.com")
    encoded = text.encode("utf-8")
    if len(encoded) > _MAX_ADDRESS:
        raise AddressError(address, f"has more than {_MAX_ADDRESS} octets; no server takes that")
    return b"<%b>" % encoded


def encode_content(message: bytes) -> bytes:
    """What follows the reply 354: dots doubled at the start of lines, and the final dot.

    The receiver gets exactly ``message`` out of it (RFC 5321 section 4.5.2). Raises OperationError for a
    bare CR or LF, a NUL, and a last line without its end: servers differ over where such a message ends.
    """
    line_ends = message.count(b"\r\n")
    if (
        not message.endswith(b"\r\n")
        or message.count(b"\r") != line_ends
        or message.count(b"\n") != line_ends
    ):
        raise OperationError("the message has a line that does not end in CRLF")
    if b"\0" in message:
        raise OperationError("the message has a NUL in it")
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return (b"." if message.startswith(b".") else b"") + stuffed + b".\r\n"


def _with_a_labels(address: str) -> str:
    try:
        checked = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise AddressError(address, "is not an address that mail can be sent to") from None
    if checked.ascii_email is None:
        raise AddressError(address, "has letters beyond ASCII before the @; that takes SMTPUTF8")
    return checked.ascii_email
