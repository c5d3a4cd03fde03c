"""The body of a response within its limits. Follows no redirect, judges no status."""

from __future__ import annotations

import aiohttp

from syndicate.collect.fetch_errors import explain, refuse
from syndicate.collect.unpack import UnpackError, unpack
from syndicate.errors import FetchError

__all__ = ["read_body"]


async def read_body(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> bytes:
    """The whole body of a response, unpacked, about ``url``; at most ``max_bytes``, packed and unpacked.

    Raises FetchError (too_large, bad_encoding, short_body), and aiohttp's errors if the connection fails.
    """
    # A length that is given may lie either way: it only saves us from beginning.
    if (response.content_length or 0) > max_bytes:
        raise _too_large(url, max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(url, max_bytes)
    body = b"".join(chunks)
    if "Content-Encoding" not in response.headers:
        return body
    try:
        return unpack(body, ",".join(response.headers.getall("Content-Encoding")), max_bytes=max_bytes)
    except UnpackError as error:
        raise (_too_large(url, max_bytes) if error.reason == "too_large" else explain(url, error)) from None


def _too_large(url: str, max_bytes: int) -> FetchError:
    size = f"{max_bytes / 2**20:g} MiB" if max_bytes >= 2**20 else f"{max_bytes} bytes"
    return refuse(url, "too_large", f"is larger than {size}")
