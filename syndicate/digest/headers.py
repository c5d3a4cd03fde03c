"""Header lines of a message, written by ourselves: no interpreter's ``email`` package comes between.

CPython before 3.13 turns an encoded word that holds a line break into a new header (CVE-2024-6923), so
whatever was written by others is cleaned here, and ``=?`` in it is always encoded. Knows no edition.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from email_validator import EmailNotValidError, validate_email

from syndicate.digest.plain import clean_line, excerpt
from syndicate.errors import AddressError, OperationError

__all__ = [
    "address_domain",
    "date_header",
    "encode_address",
    "fixed",
    "from_header",
    "list_id",
    "message_id",
    "message_id_of",
    "message_key",
    "text_header",
    "uri_header",
]

_WIDTH: Final = 76  # a line with encoded words, RFC 2047 section 2
_WORD: Final = 75  # one encoded word, same place
_FRAME: Final = len("=?utf-8?q??=")
_MAX_TEXT: Final = 200  # our choice: no subject or name needs more
_Q_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_ASCII_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?=.{1,253}$)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_URI: Final = re.compile(r"https?://[!#-;=?-Z\[\]_a-z~%]+")


def fixed(name: str, value: str) -> str:
    """The line ``name: value`` for a value of our own, which is ASCII and never folded."""
    line = f"{name}: {value}"
    if not line.isascii() or not line.isprintable():
        raise OperationError(f"header {name}: {value!a} has characters that no header can carry")
    return line + "\r\n"


def uri_header(name: str, uri: str) -> str:
    """The line ``name: <uri>``, unfolded: a folded List-Unsubscribe breaks signatures on the way.

    Raises OperationError unless the URI is an absolute http(s) one in ASCII (RFC 2369 section 2).
    """
    if not _URI.fullmatch(uri) or len(uri) > 900:
        raise OperationError(f"header {name}: {uri!a} is not an absolute http(s) address")
    return fixed(name, f"<{uri}>")


def text_header(name: str, text: str) -> str:
    """The line, or folded lines, of a header of free text such as Subject (RFC 2047 section 5 (1))."""
    line = excerpt(text, _MAX_TEXT)
    words = line.split(" ") if _is_plain(line) else _encoded_words(line, _WIDTH - len(name) - 2)
    return _fold(name, words)


def from_header(name: str, sender_name: str, address: str) -> str:
    """A line with one mailbox, ``name: "Sender" <address>``; the name may be empty.

    Raises AddressError as ``encode_address`` does.
    """
    mailbox = encode_address(address)
    phrase = excerpt(sender_name, _MAX_TEXT)
    if not phrase:
        return _fold(name, [mailbox])
    if not _is_plain(phrase):
        words = _encoded_words(phrase, _WIDTH - len(name) - 2)
    elif _ATOMS.fullmatch(phrase):
        words = phrase.split(" ")
    else:
        words = [_quoted(phrase)]
    return _fold(name, [*words, f"<{mailbox}>"])


def list_id(title: str, slug: str, domain: str) -> str:
    """The List-Id line, ``Title <slug.domain>``: ASCII, never encoded, the same in every edition.

    Letters that ASCII lacks lose their marks or are left out (RFC 2919 section 2).
    """
    ascii_title = unicodedata.normalize("NFKD", clean_line(title)).encode("ascii", "ignore").decode()
    phrase = excerpt(" ".join(ascii_title.split()), 100).replace("…", "")
    label = slug if slug.isascii() else f"newsletter-{hashlib.sha256(slug.encode()).hexdigest()[:16]}"
    words = (
        phrase if _ATOMS.fullmatch(phrase) and "=?" not in phrase else _quoted(phrase.replace("=?", "= ?"))
    )
    return fixed("List-Id", f"{words} <{label}.{domain}>" if phrase else f"<{label}.{domain}>")


def date_header(at: datetime) -> str:
    """The Date line of an aware instant, with a numeric zone (RFC 5322 section 3.3)."""
    return fixed("Date", format_datetime(at))


def encode_address(address: str) -> str:
    """The address as it goes on the wire: ASCII, its domain as A-labels.

    Raises AddressError for anything that is not one plain address, and for a local part beyond ASCII,
    which only servers with SMTPUTF8 take (RFC 6531).
    """
    encoded = address if address.isascii() else _with_a_labels(address)
    if not _ASCII_ADDRESS.fullmatch(encoded) or "=?" in encoded:
        raise AddressError(address, "is not an e-mail address that mail can be sent to")
    return encoded


def address_domain(address: str) -> str:
    """The domain of an address, as A-labels and in lower case."""
    return encode_address(address).rpartition("@")[2].lower()


def message_id(edition_id: int, subscriber_id: int, secret: bytes, domain: str) -> str:
    """The Message-ID, with its angle brackets, of a reader's copy: the same on every attempt, so that
    receivers can recognise a repeat (RFC 7352), and telling nobody who the reader is.
    """
    return message_id_of(message_key(edition_id, secret), subscriber_id, domain)


def message_key(edition_id: int, secret: bytes) -> str:
    """What Message-IDs of one edition are made with, as hex: the secret itself is never stored with it."""
    return hmac.new(secret, f"message-id\0{edition_id}".encode(), hashlib.sha256).hexdigest()


def message_id_of(key: str, subscriber_id: int, domain: str) -> str:
    """The Message-ID by an edition's ``message_key``."""
    digest = hmac.new(bytes.fromhex(key), str(subscriber_id).encode(), hashlib.sha256).digest()
    return f"<{base64.b32encode(digest[:20]).decode().lower()}@{domain}>"


def _with_a_labels(address: str) -> str:
    try:
        checked = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise AddressError(address, "is not an e-mail address that mail can be sent to") from error
    if checked.ascii_email is None:
        raise AddressError(address, "has letters beyond ASCII before the @, which few servers accept")
    return checked.ascii_email


def _is_plain(line: str) -> bool:
    return line.isascii() and "=?" not in line


def _quoted(phrase: str) -> str:
    return '"' + phrase.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _encoded_words(line: str, first_room: int) -> list[str]:
    """RFC 2047 encoded words, each whole characters only; the first fits beside the header's name."""
    data = line.encode()
    q_cost = sum(1 if b in _Q_PLAIN or b == 32 else 3 for b in data)
    encode = _q_word if q_cost <= len(data) * 4 / 3 else _b_word
    words: list[str] = []
    chunk, room = "", min(first_room, _WORD)
    for character in line:
        if chunk and len(encode(chunk + character)) > room:
            words.append(encode(chunk))
            chunk, room = "", _WORD
        chunk += character
    return [*words, encode(chunk)]


def _q_word(chunk: str) -> str:
    return "=?utf-8?q?" + "".join(map(_q_byte, chunk.encode())) + "?="


def _q_byte(b: int) -> str:
    if b == 32:
        return "_"
    return chr(b) if b in _Q_PLAIN else f"={b:02X}"


def _b_word(chunk: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(chunk.encode()).decode()}?="


def _fold(name: str, words: list[str]) -> str:
    """Words on lines of at most 76 characters where they fit; a line never starts or ends empty."""
    lines = [f"{name}: {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"
