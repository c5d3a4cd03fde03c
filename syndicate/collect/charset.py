"""Bytes to text: which encoding a document is really in. Parses nothing."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["charset_of", "decode", "xml_charset"]

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

#: Names that a stranger may make us decode with. Python knows more, and some of those (punycode) take
#: quadratic time or (utf-7, unicode_escape) make letters out of what every other reader sees as letters.
_KNOWN: Final = re.compile(
    r"utf[-_]?(8|16|32)([-_]?[lb]e)?|(us-)?ascii|iso[-_]?8859[-_]?\d{1,2}|latin-?\d|(windows-|cp)\d{3,4}"
    r"|koi8-[ru]|gb2312|gbk|gb18030|big5(-hkscs)?|shift[-_]jis|euc-(jp|kr)|iso-2022-(jp|kr)|tis-620"
)
#: What people mean when they say it (the Encoding standard, section 4.2).
_MEANT: Final = {
    "iso-8859-1": "windows-1252",
    "latin1": "windows-1252",
    "ascii": "windows-1252",
    "us-ascii": "windows-1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
_FALLBACK: Final = "windows-1252"
#: UTF-16 without its mark (XML 1.0 appendix F): how every declaration begins then.
_UNMARKED: Final = ((b"<\x00?\x00", "utf-16-le"), (b"\x00<\x00?", "utf-16-be"))
_DAMAGED: Final = "damaged utf-8"
_WHOLE_FOR_ONE_LOST: Final = 3
_ESCAPE: Final = b"\x1b"  # ISO-2022 looks like ASCII to everybody else
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE)
_XML_ENCODING: Final = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})["']""")


def decode(body: bytes, declared: Sequence[str] = ()) -> tuple[str, str]:
    """The text of a document and the name of the encoding that it was in.

    A byte order mark says the truth. So does text that is valid UTF-8: servers send wrong labels (RFC 7303
    section 3 lets them win, and they lie), while text in another encoding is hardly ever valid UTF-8 by
    accident, nor mostly valid, as UTF-8 is that was cut inside a character ("damaged utf-8"). Then come the
    ``declared`` names in their order, and at last Windows-1252. Never fails: a byte that means nothing
    becomes U+FFFD.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace"), name
    for start, name in _UNMARKED:
        if body.startswith(start):
            return body.decode(name, "replace"), name
    names = [_MEANT.get(name.lower(), name.lower()) for name in declared if _KNOWN.fullmatch(name.lower())]
    is_marked = _ESCAPE in body or b"\x00" in body
    for name in names if is_marked else ["utf-8", *names]:
        try:
            return body.decode(name), name
        except (UnicodeDecodeError, LookupError):
            if name == "utf-8" and (text := _damaged(body)):
                return text, _DAMAGED
    return body.decode(_FALLBACK, "replace"), _FALLBACK


def _damaged(body: bytes) -> str:
    """The text of bytes that are UTF-8 for the most part, else empty."""
    text = body.decode("utf-8", "replace")
    lost = text.count("\ufffd")
    whole = sum(not character.isascii() for character in text) - lost
    return text if whole > _WHOLE_FOR_ONE_LOST * lost else ""


def charset_of(content_type: str) -> str:
    """The charset parameter of a Content-Type, or empty."""
    found = _CHARSET.search(content_type)
    return found.group(1) if found else ""


def xml_charset(body: bytes) -> str:
    """The encoding that an XML declaration names, or empty."""
    found = _XML_ENCODING.match(body)
    return found.group(1).decode("ascii") if found else ""
