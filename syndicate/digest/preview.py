"""A finished message as an operator looks at it: whole, or one of its parts. Composes and sends nothing."""

from __future__ import annotations

from typing import Final, Literal

from syndicate.digest.selfcheck import read_parts
from syndicate.errors import UsageError

__all__ = ["KINDS", "Kind", "extract_part"]

Kind = Literal["eml", "html", "txt"]

#: The kinds of preview; each is also the suffix of its file's name.
KINDS: Final[tuple[Kind, ...]] = ("eml", "html", "txt")


def extract_part(message: bytes, kind: str) -> bytes:
    """The message as it is (``eml``), or its HTML (``html``) or text (``txt``), decoded, in UTF-8.

    Raises UsageError for another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of preview '{kind}'; one of {', '.join(KINDS)}")
    if kind == "eml":
        return message
    return read_parts(message)["html" if kind == "html" else "plain"].encode()
