"""Header lines of a message, written by ourselves: no interpreter's ``email`` package comes between.

CPython before 3.13 turns an encoded word that holds a line break into a new header (CVE-2024-6923), so
whatever was written by others is cleaned here, and ``=?`` in it is always encoded. Knows no edition.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from email_validator import EmailNotValidError, validate_email

from syndicate.digest.plain import clean_line, excerpt
from syndicate.errors import AddressError, OperationError

__all__ = [
    "address_domain",
    "date_header",
    "encode_address",
    "feedback_id",
    "fixed",
    "from_header",
    "is_uri",
    "list_id",
    "text_header",
    "to_header",
    "uri_header",
]

_WIDTH: Final = 76  # a line with encoded words, RFC 2047 section 2
_WORD: Final = 75  # one encoded word, same place
_MAX_TEXT: Final = 200  # our choice: no subject or name needs more
_Q_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_UTF8_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\xa1-\ud7ff\ue000-\U0010ffff-]+")
_MAX_LOCAL_BYTES: Final = 64  # RFC 5321 section 4.5.3.1.1
_URI: Final = re.compile(r"https?://[!#-;=?-Z\[\]_a-z~%]+")
_MAX_URI: Final = 900
_MAX_FIELD: Final = 20  # of a slug in Feedback-ID, whose line is not folded
_KEPT_DOMAINS: Final = 4_096  # a million readers are at a few of them


def fixed(name: str, value: str) -> str:
    """The line ``name: value`` for a value of our own, which is ASCII and never folded."""
    line = f"{name}: {value}"
    if not line.isascii() or not line.isprintable():
        raise OperationError(f"header {name}: {value!a} has characters that no header can carry")
    return line + "\r\n"


def uri_header(name: str, uri: str) -> str:
    """The line ``name: <uri>``, unfolded: a folded List-Unsubscribe breaks signatures on the way.

    Raises OperationError unless ``is_uri``.
    """
    if not is_uri(uri):
        raise OperationError(f"header {name}: {uri[:100]!a} is not an absolute http(s) address")
    return f"{name}: <{uri}>\r\n"


def is_uri(text: str) -> bool:
    """Whether it is an absolute http(s) URI in ASCII, of at most 900 characters (RFC 2369 section 2), in
    which nobody finds an encoded word.
    """
    return len(text) <= _MAX_URI and _URI.fullmatch(text) is not None and "=?" not in text


def to_header(address: str) -> str:
    """The line To of one reader; all of it is ASCII but the local part of an address that is not.

    Raises AddressError as ``encode_address`` does.
    """
    return f"To: {encode_address(address)}\r\n"


def text_header(name: str, text: str) -> str:
    """The line, or folded lines, of a header of free text such as Subject (RFC 2047 section 5 (1))."""
    line = excerpt(text, _MAX_TEXT)
    words = line.split(" ") if _is_plain(line) else _encoded_words(line, _WIDTH - len(name) - 2)
    return _fold(name, words)


def from_header(name: str, sender_name: str, address: str) -> str:
    """A line with one mailbox, ``name: "Sender" <address>``; the name may be empty.

    Raises AddressError as ``encode_address`` does, and for a local part beyond ASCII: not all of the
    readers' servers would take it (RFC 6531).
    """
    mailbox = encode_address(address)
    if not mailbox.isascii():
        raise AddressError(address, "has letters beyond ASCII before the @, which few servers accept")
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
    label = slug if slug.isascii() else _label(slug, 16)
    words = (
        phrase if _ATOMS.fullmatch(phrase) and "=?" not in phrase else _quoted(phrase.replace("=?", "= ?"))
    )
    return fixed("List-Id", f"{words} <{label}.{domain}>" if phrase else f"<{label}.{domain}>")


def feedback_id(edition_id: int, slug: str, cadence: str, domain: str) -> str:
    """The Feedback-ID line, under which Gmail counts complaints: edition, newsletter, cadence, sender.

    The same for each reader of an edition, since it is there for sums. No field can have another one's value:
    a slug has no full stop. The last one, of 5 to 15 characters, stands for the sender's domain, for ever.
    """
    newsletter = slug if slug.isascii() and len(slug) <= _MAX_FIELD else _label(slug, 8)
    sender = hashlib.sha256(f"feedback-id\0{domain}".encode()).hexdigest()[:12]
    return fixed("Feedback-ID", f"edition.{edition_id}:{newsletter}:cadence.{cadence}:{sender}")


def date_header(at: datetime) -> str:
    """The Date line of an aware instant, with a numeric zone (RFC 5322 section 3.3)."""
    return fixed("Date", format_datetime(at))


def encode_address(address: str) -> str:
    """The address as it goes on the wire: its domain as A-labels, its local part in UTF-8 if it must be
    (RFC 6532), all else ASCII.

    Raises AddressError for anything that is not one plain address.
    """
    local, _, domain = address.rpartition("@")
    if address.isascii():
        if _LOCAL.fullmatch(local) and _is_domain(domain) and "=?" not in local:
            return address
    else:
        local, domain = _checked(address)
        if _is_utf8_local(local) and _is_domain(domain) and "=?" not in local:
            return f"{local}@{domain}"
    raise AddressError(address, "is not an e-mail address that mail can be sent to")


def address_domain(address: str) -> str:
    """The domain of an address, as A-labels and in lower case."""
    return encode_address(address).rpartition("@")[2].lower()


@lru_cache(maxsize=_KEPT_DOMAINS)
def _is_domain(domain: str) -> bool:
    return _DOMAIN.fullmatch(domain) is not None


def _is_utf8_local(local: str) -> bool:
    return (
        _UTF8_LOCAL.fullmatch(local) is not None
        and local.isprintable()
        and len(local.encode()) <= _MAX_LOCAL_BYTES
    )


def _checked(address: str) -> tuple[str, str]:
    """The local part and the domain, as A-labels, of an address that is not ASCII."""
    try:
        checked = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise AddressError(address, "is not an e-mail address that mail can be sent to") from error
    return checked.local_part, checked.ascii_domain


def _label(slug: str, digits: int) -> str:
    return f"newsletter-{hashlib.sha256(slug.encode()).hexdigest()[:digits]}"


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
