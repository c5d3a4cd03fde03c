"""Checks on a finished message's bytes that guard against our own mistakes. Judges no content.

The numbers are those of the checklist that the test suite runs in full.
"""

from __future__ import annotations

import email.policy
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final

from syndicate.digest.choice import HTML_LIMIT_BYTES
from syndicate.errors import OperationError

__all__ = ["Finding", "check_message", "read_parts", "require_sound"]

_ONCE: Final = (
    "From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type",
)  # fmt: skip
_ONCE_IN_LISTS: Final = ("List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID")

_TO: Final = re.compile(rb"(?m)^To: .*$")  # the one place of an address that may be beyond ASCII (RFC 6532)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a message, and by which item of the checklist."""

    item: int
    detail: str


def check_message(message: bytes, *, unsubscribe_url: str | None) -> list[Finding]:
    """What is wrong with the message, in the checklist's order; an empty list if nothing is.

    ``unsubscribe_url`` is None for a letter that belongs to no list.
    """
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    findings = [*_check_lines(message), *_check_headers(parsed, is_list=unsubscribe_url is not None)]
    return findings + list(_check_parts(message, parsed, unsubscribe_url))


def require_sound(message: bytes, *, unsubscribe_url: str | None) -> None:
    """Raises OperationError that lists what ``check_message`` found, if it found anything."""
    findings = check_message(message, unsubscribe_url=unsubscribe_url)
    if findings:
        listed = "; ".join(f"item {f.item}: {f.detail}" for f in findings)
        raise OperationError(f"the finished message fails its own check, so nothing was sent: {listed}")


def read_parts(message: bytes) -> dict[str, str]:
    """The decoded text parts by subtype, ``plain`` and ``html``, with LF line ends.

    Raises UnicodeDecodeError for a part that is not in UTF-8.
    """
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    parts = {}
    for part in parsed.walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes) and part.get_content_maintype() == "text":
            parts[part.get_content_subtype()] = payload.decode("utf-8").replace("\r\n", "\n")
    return parts


def _check_lines(message: bytes) -> Iterator[Finding]:
    if re.search(rb"\r(?!\n)|(?<!\r)\n", message) or not message.endswith(b"\r\n"):
        yield Finding(item=1, detail="a line does not end in CRLF")
    head, _, body = message.partition(b"\r\n\r\n")
    if any(len(line) > 998 for line in head.split(b"\r\n")):
        yield Finding(item=2, detail="a header line is longer than 998 bytes")
    if any(len(line) > 76 for line in body.split(b"\r\n")):
        yield Finding(item=2, detail="a line of the body is longer than 76 bytes")
    if re.search(rb"[^\r\n\x20-\x7e]", _TO.sub(b"", head, count=1) + body):
        yield Finding(item=3, detail="a byte is not printable ASCII")
    if re.search(rb"(?m)^\.|^From ", body):
        yield Finding(item=1, detail="a line of the body begins with a dot or with 'From '")


def _check_headers(parsed: Message, *, is_list: bool) -> Iterator[Finding]:
    for name in (*_ONCE, *(_ONCE_IN_LISTS if is_list else ())):
        found = len(parsed.get_all(name, []))
        if found != 1:
            yield Finding(item=4, detail=f"{found} headers {name} instead of one")
    for name in ("Bcc", "Cc", "Return-Path", "Sender"):
        if name in parsed:
            yield Finding(item=4, detail=f"a header {name}")


def _check_parts(message: bytes, parsed: Message, unsubscribe_url: str | None) -> Iterator[Finding]:
    try:
        parts = read_parts(message)
    except UnicodeDecodeError:
        yield Finding(item=25, detail="a part is not UTF-8")
        return
    if [p.get_content_type() for p in parsed.walk()] != ["multipart/alternative", "text/plain", "text/html"]:
        yield Finding(item=23, detail="its parts are not one of text, then one of HTML")
        return
    for kind, text in parts.items():
        if not text.strip():
            yield Finding(item=25, detail=f"its {kind} part is empty")
        if re.search(r"zq[0-9a-f]{10}[XF]\d+", text):
            yield Finding(item=32, detail=f"its {kind} part still holds a placeholder")
        if unsubscribe_url is not None and unsubscribe_url not in html.unescape(text):
            yield Finding(
                item=24 if kind == "plain" else 28, detail=f"its {kind} part has no unsubscribe link"
            )
    size = len(parts["html"].replace("\n", "\r\n").encode())
    if size > HTML_LIMIT_BYTES:
        yield Finding(item=27, detail=f"its HTML has {size} bytes, and Gmail shows {HTML_LIMIT_BYTES}")
