"""Values in their places, in quoted-printable; the short way for those of most readers.

Decides nobody's value.
"""

from __future__ import annotations

import re
from typing import Final

from syndicate.digest.headers import is_uri
from syndicate.digest.mime import LINE_LIMIT, fold, qp_piece
from syndicate.digest.tokens import Context, encode_value
from syndicate.errors import OperationError

__all__ = ["require_url", "usual_pieces", "value_piece"]

#: What stands for itself in text, in HTML, in quoted-printable, and at the beginning of a line, too.
_WORD: Final = r"(?![-.F])[!#-%(-;?-~]+(?: [!#-%(-;?-~]+)*"
_ADDRESS: Final = r"(?![-.F])[A-Za-z0-9_.+-]+@[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"
_URL: Final = r"https?://[!#-%(-;?-Z\[\]_a-z~]+"
_is_usual: Final = re.compile(f"(?:{_WORD})?\n{_ADDRESS}\n{_URL}\n{_URL}").fullmatch
_MAX_USUAL: Final = 600  # characters of all together; far more than links have, and a link may have 900
_MAX_USUAL_ADDRESS: Final = 64  # so that no part of it is too long


def value_piece(value: str, context: Context) -> bytes:
    """The value as it stands in a message. Raises OperationError for a URL that is none."""
    return qp_piece(encode_value(value, context))


def usual_pieces(values: tuple[str, str, str, str]) -> tuple[bytes, bytes, bytes, bytes] | None:
    """What ``value_piece`` gives for a reader's values, in the order of READER_SLOTS, if nothing in them has
    to be encoded in any context but COMPONENT; and then the address and the URLs are sound. Otherwise None.
    """
    line = "\n".join(values)
    name, address, unsubscribe_url, preferences_url = values
    if (
        not _is_usual(line)
        or len(line) > _MAX_USUAL
        or len(name) > LINE_LIMIT
        or len(address) > _MAX_USUAL_ADDRESS
    ):
        return None
    return (
        f"{name}=\r\n".encode("ascii") if name else b"",
        f"{address}=\r\n".encode("ascii"),
        fold(unsubscribe_url),
        fold(preferences_url),
    )


def require_url(url: str) -> None:
    """Raises OperationError for a URL that is none."""
    if not is_uri(url):
        raise OperationError(f"{url[:100]!a} is not an absolute http(s) address")
