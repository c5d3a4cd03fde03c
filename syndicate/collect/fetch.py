"""One document over HTTP: conditional, guarded, bounded. Parses nothing, stores nothing.

Whatever goes wrong becomes a ``FetchError`` with a short reason and one line for the operator.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from syndicate.collect.guard import AddressRefusedError, PortRefusedError, guarded_connector
from syndicate.errors import FetchError, PrivateAddress

__all__ = ["Fetched", "NotModified", "fetch", "open_session"]

#: Feeds first: some servers answer one address with a feed or with a page.
ACCEPT: Final = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, application/json;q=0.8, text/xml;q=0.8, text/html;q=0.6, */*;q=0.4"
)
#: What we can undo. Others may be offered to us and are refused: guessing at bytes makes no article.
ENCODINGS: Final = "gzip, deflate"
_KNOWN_ENCODINGS: Final = frozenset(["", "identity", "gzip", "x-gzip", "deflate", "br", "zstd"])

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset([301, 302, 303, 307, 308])
_CONNECT_S: Final = 10.0
_READ_S: Final = 10.0
_CHUNK_BYTES: Final = 65_536
#: aiohttp's errors, in this order, since many of them are kinds of others.
_EXPLAINED: Final = (
    ((aiohttp.InvalidURL, UnicodeError), "bad_url", "is no address that can be read"),
    ((aiohttp.ClientConnectorDNSError,), "dns", "cannot be reached: its name is not known"),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError),
        "tls",
        "cannot be reached safely: its certificate or encryption is not valid",
    ),
    ((aiohttp.ClientPayloadError,), "short_body", "broke off before its end"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A whole document."""

    url: str  #: as it was asked for
    final_url: str  #: where the document was found, after redirects
    body: bytes  #: decoded
    content_type: str  #: the header as it came, or empty
    etag: str  #: validators: verbatim, opaque; they belong to ``final_url``
    last_modified: str
    body_hash: str  #: SHA-256 of ``body``, as hex


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """The document is the one that the validators name (RFC 9110 section 15.4.5)."""

    url: str


def open_session(*, user_agent: str, allow: Sequence[IPv4Network | IPv6Network]) -> aiohttp.ClientSession:
    """The session through which everything is fetched; the caller closes it.

    Dials public addresses and those in ``allow``. Keeps no cookies and ignores the proxies of the
    environment, behind which the guard would see the proxy only. Call it where an event loop runs.
    """
    return aiohttp.ClientSession(
        connector=guarded_connector(allow=allow),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent, "Accept": ACCEPT, "Accept-Encoding": ENCODINGS},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S),
        trust_env=False,
    )


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    *,
    etag: str = "",
    last_modified: str = "",
    max_bytes: int = 10 * 2**20,
    deadline_s: float = 20.0,
) -> Fetched | NotModified:
    """The document at an http or https URL, or ``NotModified`` if the validators still hold.

    Follows at most five redirects, each judged like the first address; https never leads to http.
    ``max_bytes`` bounds the decoded body, ``deadline_s`` the whole chain. Raises PrivateAddress and
    FetchError, whose reason is one of bad_url, bad_port, timeout, dns, tls, connection, short_body,
    bad_encoding, too_large, gone, http_NNN, bad_redirect, redirect_loop, too_many_redirects; 429 and 503
    bring ``retry_after_s`` if the server named a time.
    """
    shown = _without_credentials(url)
    try:
        async with asyncio.timeout(deadline_s):
            return await _follow(session, url, shown, (etag, last_modified), max_bytes)
    except TimeoutError:
        raise FetchError(shown, "timeout", f"did not answer within {deadline_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _explain(shown, error) from None


async def _follow(
    session: aiohttp.ClientSession, url: str, shown: str, validators: tuple[str, str], max_bytes: int
) -> Fetched | NotModified:
    at = _web_url(url, shown)
    seen: set[URL] = set()
    while True:
        if at in seen:
            raise FetchError(shown, "redirect_loop", "redirects in a circle")
        if len(seen) > MAX_REDIRECTS:
            raise FetchError(shown, "too_many_redirects", f"redirects more than {MAX_REDIRECTS} times")
        headers = {} if seen else _conditions(*validators)  # validators belong to the first URL only
        seen.add(at)
        async with session.get(at, headers=headers, allow_redirects=False) as response:
            if response.status in _REDIRECTS:
                at = _redirect_target(at, response.headers.get("Location", ""), shown)
                continue
            if response.status == 304 and headers:
                return NotModified(url=url)
            _check_answer(response, shown)
            body = await _read_body(response, shown, max_bytes)
            return Fetched(
                url=url,
                final_url=str(at.with_user(None).with_fragment(None)),
                body=body,
                content_type=response.headers.get("Content-Type", ""),
                etag=response.headers.get("ETag", ""),
                last_modified=response.headers.get("Last-Modified", ""),
                body_hash=hashlib.sha256(body).hexdigest(),
            )


def _web_url(url: str, shown: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError:
        raise FetchError(shown, "bad_url", "is no address that can be read") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise FetchError(shown, "bad_url", "is no http or https address")
    return parsed


def _conditions(etag: str, last_modified: str) -> dict[str, str]:
    given = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in given.items() if value}


def _redirect_target(at: URL, location: str, shown: str) -> URL:
    try:
        target = at.join(URL(location)).with_fragment(None)
    except ValueError:
        raise FetchError(shown, "bad_redirect", "redirects to an address that cannot be read") from None
    if not location or target.scheme not in {"http", "https"} or not target.host:
        raise FetchError(shown, "bad_redirect", "redirects to what is no http or https address")
    if at.scheme == "https" and target.scheme == "http":
        raise FetchError(shown, "bad_redirect", "redirects from https to http, which anybody could read")
    return target.with_user(None)  # a stranger must not choose credentials for us


def _check_answer(response: aiohttp.ClientResponse, shown: str) -> None:
    if response.status == 410:
        raise FetchError(shown, "gone", "is gone for good (410)")
    if response.status != 200:
        wait = _retry_after_s(response.headers) if response.status in {429, 503} else None
        raise FetchError(shown, f"http_{response.status}", f"answered {response.status}", retry_after_s=wait)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _KNOWN_ENCODINGS:
        raise FetchError(shown, "bad_encoding", f"is packed as '{encoding[:40]}', which we did not ask for")


async def _read_body(response: aiohttp.ClientResponse, shown: str, max_bytes: int) -> bytes:
    too_large = FetchError(shown, "too_large", f"is larger than {_size(max_bytes)}")
    # A length that is given may lie either way: it only saves us from beginning.
    if (response.content_length or 0) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _retry_after_s(headers: CIMultiDictProxy[str]) -> float | None:
    """Seconds that a server wants us to wait (RFC 9110 section 10.2.3), by its own clock."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    until, said_at = _http_date(value), _http_date(headers.get("Date", ""))
    if until is None or said_at is None:
        return None
    return max(0.0, (until - said_at).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _explain(shown: str, error: Exception) -> FetchError:
    """One of our errors for one of aiohttp's."""
    cause = getattr(error, "os_error", None)
    if isinstance(cause, AddressRefusedError):
        return PrivateAddress(shown)
    if isinstance(cause, PortRefusedError):
        return FetchError(shown, "bad_port", "names a port that belongs to another service")
    if isinstance(error, aiohttp.ClientPayloadError) and "content-encoding" in str(error).lower():
        return FetchError(shown, "bad_encoding", "is packed in a way that cannot be undone")
    for kinds, reason, detail in _EXPLAINED:
        if isinstance(error, kinds):
            return FetchError(shown, reason, detail)
    return FetchError(shown, "connection", f"cannot be reached: {_system_error(error)}")


def _system_error(error: Exception) -> str:
    # Its own text may name the address that was dialled, which is for the log only.
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()
    return "the server broke off" if isinstance(error, aiohttp.ServerConnectionError) else "no valid answer"


def _without_credentials(url: str) -> str:
    """The URL as it may be shown and logged."""
    return re.sub(r"^([a-zA-Z][\w+.-]*://)[^/?#]*@", r"\1", url)


def _size(number_bytes: int) -> str:
    return f"{number_bytes / 2**20:g} MiB" if number_bytes >= 2**20 else f"{number_bytes} bytes"
