"""What a server says: its replies out of its bytes, and the extensions it offers. No I/O.

Does not know which command a reply answers, nor what it means for a message.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Extensions", "Reply", "ReplyParser", "UnreadableReply", "parse_extensions"]

#: Eight times what a server may send (RFC 5321 section 4.5.3.1.5), so no real one comes near; our choice.
_MAX_LINE_BYTES: Final = 4096
_MAX_LINES: Final = 100


class UnreadableReply(Exception):
    """The server does not speak SMTP: nothing that it says from here on can be matched to a command."""


class Reply(NamedTuple):
    """One whole reply. A tuple, since four of them are made for each message."""

    code: int  #: 200 to 599
    text: str  #: the lines without their codes, joined by LF


class ReplyParser:
    """Takes bytes as they come and gives the replies that are complete, in order."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()  #: complete ones, without their LF
        self._rest = b""  #: of a line that is not complete yet
        self._reply: list[str] = []  #: the lines of a reply that is not complete yet
        self._code = 0  #: theirs

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of what came."""
        return not (self._rest or self._lines or self._reply)

    def feed(self, data: bytes) -> None:
        """Adds what came in."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)

    def next(self) -> Reply | None:
        """The next complete reply, or None before more has come.

        A line may end in LF alone, and a last line may be a bare code. Raises UnreadableReply for a line of
        more than 4,096 bytes, a reply of more than 100 lines, lines of one reply with different codes, and
        whatever does not begin with a code from 200 to 599 (RFC 5321 section 4.2).
        """
        while self._lines:
            line, is_last = _read_line(self._lines.popleft())
            if is_last and not self._reply:
                return line
            self._add(line)
            if is_last:
                text, self._reply = "\n".join(self._reply), []
                return Reply(self._code, text)
        if len(self._rest) >= _MAX_LINE_BYTES:
            raise UnreadableReply(f"a line of more than {_MAX_LINE_BYTES} bytes")
        return None

    def _add(self, line: Reply) -> None:
        if self._reply and line.code != self._code:
            raise UnreadableReply(f"a reply with two codes, {self._code} and {line.code}: {line.text}")
        if len(self._reply) == _MAX_LINES:
            raise UnreadableReply(f"a reply of more than {_MAX_LINES} lines")
        self._code = line.code
        self._reply.append(line.text)


@lru_cache(maxsize=64)  # most lines of a server are the same few again and again
def _read_line(line: bytes) -> tuple[Reply, bool]:
    """One line of a reply, and whether it is the last one."""
    if len(line) >= _MAX_LINE_BYTES:
        raise UnreadableReply(f"a line of more than {_MAX_LINE_BYTES} bytes")
    code, separator, text = line[:3], line[3:4], line[4:].removesuffix(b"\r").decode("utf-8", "replace")
    if not (code.isdigit() and 200 <= int(code) < 600 and separator in b" -\r"):
        raise UnreadableReply(f"an answer that is no reply: {line.decode('utf-8', 'replace')}")
    return Reply(int(code), text), separator != b"-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What a server offers beyond plain SMTP, as far as we use it."""

    has_pipelining: bool = False
    has_starttls: bool = False
    has_8bitmime: bool = False
    has_size: bool = False
    max_bytes: int = 0  #: the largest message it takes; 0: it names no limit (RFC 1870 section 4)
    mechanisms: frozenset[str] = frozenset()  #: of AUTH, in capitals


def parse_extensions(text: str) -> Extensions:
    """The extensions in the text of a reply to EHLO (RFC 5321 section 4.1.1.1).

    Its first line is a greeting. Empty lines and whatever is unknown are passed over; ``AUTH=`` is how old
    servers write AUTH.
    """
    offered: dict[str, list[str]] = {}
    for line in text.upper().split("\n")[1:]:
        words = line.replace("AUTH=", "AUTH ", 1).split()
        if words:
            offered.setdefault(words[0], []).extend(words[1:])
    limit = next(iter(offered.get("SIZE", [])), "")
    return Extensions(
        has_pipelining="PIPELINING" in offered,
        has_starttls="STARTTLS" in offered,
        has_8bitmime="8BITMIME" in offered,
        has_size="SIZE" in offered,
        max_bytes=int(limit) if limit.isascii() and limit.isdecimal() else 0,
        mechanisms=frozenset(offered.get("AUTH", [])),
    )
