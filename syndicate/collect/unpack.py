"""A packed body as it was before: one layer, whole, and never larger than allowed. Pure: no I/O.

The HTTP client could unpack too, and takes a gzip body that ends in the middle for a whole one.
"""

from __future__ import annotations

import zlib
from typing import Final

import brotli  # type: ignore[import-untyped]  # ships no types

__all__ = ["ENCODINGS", "UnpackError", "unpack"]

#: What we ask for.
ENCODINGS: Final = "gzip, deflate, br"

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
#: Parts of one gzip body (RFC 1952 section 2.2). Each costs a copy of what follows it; our choice.
_MOST_MEMBERS: Final = 16


class UnpackError(ValueError):
    """It cannot be unpacked; ``reason`` is too_large, short_body or bad_encoding."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def unpack(packed: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """The body that a ``Content-Encoding`` (RFC 9110 section 8.4) describes, at most ``max_bytes`` long.

    Takes gzip, deflate (with or without the header of zlib, as browsers do), br and identity. Raises
    UnpackError: a list of encodings is bad_encoding, since layer within layer is what bombs are made of.
    """
    name = encoding.strip().lower()
    try:
        if name in {"gzip", "x-gzip"}:
            return _gunzip(packed, max_bytes)
        if name == "deflate":
            return _inflate(
                packed, zlib.MAX_WBITS if _has_zlib_header(packed) else -zlib.MAX_WBITS, max_bytes
            )[0]
        if name == "br":
            return _unbrotli(packed, max_bytes)
    except (zlib.error, brotli.error):
        raise UnpackError("bad_encoding") from None
    if name not in {"", "identity"}:
        raise UnpackError("bad_encoding")
    if len(packed) > max_bytes:
        raise UnpackError("too_large")
    return packed


def _gunzip(packed: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes
    while True:
        part, packed = _inflate(packed, _GZIP, left)
        parts.append(part)
        left -= len(part)
        # What follows the end and is no other part is padding, which every browser overlooks.
        if not packed.startswith(_GZIP_MAGIC):
            return b"".join(parts)
        if len(parts) == _MOST_MEMBERS:
            raise UnpackError("bad_encoding")


def _inflate(packed: bytes, window_bits: int, max_bytes: int) -> tuple[bytes, bytes]:
    """What a stream holds, and what follows it."""
    stream = zlib.decompressobj(window_bits)
    body = stream.decompress(packed, max_bytes + 1)
    if len(body) > max_bytes:
        raise UnpackError("too_large")
    if not stream.eof:
        raise UnpackError("short_body")
    return body, stream.unused_data


def _has_zlib_header(packed: bytes) -> bool:
    # RFC 1950 section 2.2: the method, and a check over two bytes.
    return len(packed) > 1 and packed[0] & 0x0F == 8 and (packed[0] * 256 + packed[1]) % 31 == 0


def _unbrotli(packed: bytes, max_bytes: int) -> bytes:
    stream = brotli.Decompressor()
    body: bytes = stream.process(packed, output_buffer_limit=max_bytes + 1)
    if len(body) > max_bytes:
        raise UnpackError("too_large")
    if not stream.is_finished():
        raise UnpackError("short_body")
    return body
