"""Transfer encoding of a message's parts. Knows text and bytes; no headers of the message, no readers.

Quoted-printable here is canonical by construction: whatever pieces are joined, no line starts with
``.``, ``-`` or ``F`` (no dot-stuffing, no boundary, no "From "), none ends in a blank or holds two blanks
in a row, and none is longer than 76 characters (RFC 2045 section 6.7).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LINE_LIMIT", "alternative_type", "closing", "fold", "part_head", "qp_piece"]

#: Of what is written on a line; a "=20" that replaces a blank and a soft break still fit into 76.
LINE_LIMIT: Final = 72
_ESCAPED: Final = [f"={b:02X}" for b in range(256)]
_WRITTEN: Final = [chr(b) if 33 <= b <= 126 and b != 61 else _ESCAPED[b] for b in range(256)]
_NEVER_FIRST: Final = frozenset(b".-F")
_INSTEAD: Final = {chr(b): _ESCAPED[b] for b in b" .-F"}  # at the beginning of a line
_UNWRITABLE: Final = re.compile(rb"[^ !-<>-~]+")


def qp_piece(text: str) -> bytes:
    """The text as a piece of quoted-printable that starts and ends at column 0.

    A piece ends with a CRLF of its own text or with a soft line break, so pieces join in any order and
    number; the decoded whole is the texts one after the other, with LF as CRLF. Empty text is an empty
    piece.
    """
    data = text.encode()
    if b"\n" in data or b"  " in data:
        return _piece_of_lines(data)
    return fold(_UNWRITABLE.sub(_escape, data).decode("ascii"))


def fold(line: str) -> bytes:
    """What ``qp_piece`` gives for one line in which everything is escaped that has to be and no blanks follow
    one another.
    """
    if len(line) <= LINE_LIMIT and line[:1] not in _INSTEAD:
        return f"{line}=\r\n".encode("ascii") if line else b""
    if len(line) < 2 * LINE_LIMIT - 2 and "=" not in line and line[0] not in _INSTEAD:  # most links
        rest = line[LINE_LIMIT:]
        return f"{line[:LINE_LIMIT]}=\r\n{_INSTEAD.get(rest[0], rest[0])}{rest[1:]}=\r\n".encode("ascii")
    lines = []
    while line:
        first, end = _INSTEAD.get(line[0]), LINE_LIMIT
        if first:
            end -= len(first) - 1
        if end < len(line) and "=" in line[end - 2 : end]:
            end = line.rindex("=", 0, end)  # the escape would not be whole
        lines.append(f"{first}{line[1:end]}=\r\n" if first else f"{line[:end]}=\r\n")
        line = line[end:]
    return "".join(lines).encode("ascii")


def _escape(match: re.Match[bytes]) -> bytes:
    return b"=" + match[0].hex("=").upper().encode("ascii")


def _piece_of_lines(data: bytes) -> bytes:
    out: list[str] = []
    column, blank = 0, False  # blank: the last thing written is a literal space
    for b in data:
        if b == 10:
            if blank:
                out[-1] = "=20"
            out.append("\r\n")
            column, blank = 0, False
            continue
        written = " " if b == 32 and column and not blank else _WRITTEN[b]
        if column + len(written) > LINE_LIMIT:
            out.append("=\r\n")
            column, written = 0, _WRITTEN[b]
        if not column and b in _NEVER_FIRST:
            written = _ESCAPED[b]
        out.append(written)
        column += len(written)
        blank = written == " "
    if column:
        out.append("=\r\n")
    return "".join(out).encode("ascii")


def alternative_type(boundary: str) -> str:
    """The value of Content-Type for a message of alternative parts.

    The boundary has to contain ``=_``, which quoted-printable never produces (RFC 2046 section 5.1.1).
    """
    return f'multipart/alternative; boundary="{boundary}"'


def part_head(boundary: str, subtype: str) -> bytes:
    """What stands before a part: delimiter, its headers, an empty line."""
    return (
        f"--{boundary}\r\n"
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    ).encode("ascii")


def closing(boundary: str) -> bytes:
    """The last line of a message."""
    return f"--{boundary}--\r\n".encode("ascii")
