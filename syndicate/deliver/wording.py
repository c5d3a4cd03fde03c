"""A server's replies and a system's errors as one line for people. No I/O."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

__all__ = ["clean_reply", "describe_failure", "with_code"]

#: As much of a reply as is kept; our choice.
_MAX_REPLY: Final = 500


def clean_reply(text: str) -> str:
    """A server's words as one line of at most 500 printable characters."""
    if text.isprintable() and len(text) <= _MAX_REPLY and "  " not in text:
        return text.strip()  # as most are; not all blanks can be printed, but this one
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:_MAX_REPLY]


def with_code(code: int | None, text: str) -> str:
    """A reply as a server writes it, or only the text where no proper reply came."""
    return clean_reply(text if code is None else f"{code} {text}")


def describe_failure(error: BaseException) -> str:
    """What went wrong on a connection, as the system tells it."""
    match error:
        case ssl.SSLCertVerificationError():
            text = f"the certificate is not valid for this relay: {error.verify_message}"
        case ssl.SSLError():
            text = f"the TLS handshake failed: {error.reason or error}"
        case TimeoutError():
            text = "no reply in time"
        case UnicodeError():
            text = "that is not the name of a host"
        case OSError() if error.errno and not isinstance(error, socket.gaierror):
            text = os.strerror(error.errno)
        case OSError():
            text = error.strerror or str(error)
        case _:
            text = str(error)
    return text
