"""What a server says: its replies out of its bytes, and the extensions it offers. No I/O.

Does not know which command a reply answers, nor what it means for a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["Extensions", "Reply", "ReplyParser", "parse_extensions"]

#: Eight times what a server may send (RFC 5321 section 4.5.3.1.5), so no real one comes near; our choice.
_MAX_LINE_BYTES: Final = 4096
_MAX_LINES: Final = 100


class _UnreadableError(Exception):
    """The server does not speak SMTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply."""

    code: int  #: 200 to 599
    text: str  #: the lines without their codes, joined by LF


class ReplyParser:
    """Takes bytes as they come and gives the replies that are complete, in order."""

    def __init__(self) -> None:
        self.complaint = ""  #: why nothing more can be read, if so
        self.is_empty = True  #: whether nothing is left of what came
        self._rest = b""  #: of a line that is not complete yet
        self._texts: list[str] = []  #: the lines of a reply that is not complete yet
        self._code = 0  #: theirs

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete with what came in now.

        A line may end in LF alone, and a last line may be a bare code. After a line of more than 4,096 bytes,
        a reply of more than 100 lines, lines of one reply with different codes, and whatever does not begin
        with a code from 200 to 599 (RFC 5321 section 4.2) there is a ``complaint``, and no more replies:
        nothing from there on can be matched to a command.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        replies: list[Reply] = []
        try:
            for line in lines:
                reply, is_last = _read_line(line)
                if is_last and not self._texts:
                    replies.append(reply)
                    continue
                reply = self._add(reply)
                if is_last:
                    replies.append(reply)
                    self._texts = []
            _check_length(self._rest)
        except _UnreadableError as error:
            self.complaint = str(error)
        self.is_empty = not (self._rest or self._texts or self.complaint)
        return replies

    def _add(self, line: Reply) -> Reply:
        """The reply so far, together with one more line."""
        if self._texts and line.code != self._code:
            raise _UnreadableError(f"a reply with two codes, {self._code} and {line.code}: {line.text}")
        if len(self._texts) == _MAX_LINES:
            raise _UnreadableError(f"a reply of more than {_MAX_LINES} lines")
        self._code = line.code
        self._texts.append(line.text)
        return Reply(line.code, "\n".join(self._texts))


@lru_cache(maxsize=64)  # most lines of a server are the same few again and again
def _read_line(line: bytes) -> tuple[Reply, bool]:
    """One line of a reply, and whether it is the last one."""
    _check_length(line)
    code, separator, text = line[:3], line[3:4], line[4:].removesuffix(b"\r").decode("utf-8", "replace")
    if not (code.isdigit() and 200 <= int(code) < 600 and separator in b" -\r"):
        raise _UnreadableError(f"an answer that is no reply: {line.decode('utf-8', 'replace')}")
    return Reply(int(code), text), separator != b"-"


def _check_length(line: bytes) -> None:
    if len(line) >= _MAX_LINE_BYTES:
        raise _UnreadableError(f"a line of more than {_MAX_LINE_BYTES} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What a server offers beyond plain SMTP, as far as we use it."""

    has_pipelining: bool = False
    has_starttls: bool = False
    has_8bitmime: bool = False
    has_smtputf8: bool = False
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
        has_smtputf8="SMTPUTF8" in offered,
        has_size="SIZE" in offered,
        max_bytes=int(limit) if limit.isascii() and limit.isdecimal() else 0,
        mechanisms=frozenset(offered.get("AUTH", [])),
    )
