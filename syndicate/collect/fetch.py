"""Documents over HTTP: guarded, bounded, conditional. Parses and stores nothing, and keeps no pace.

The one client for everything that asks the outside: ``fetch`` for documents, ``request`` for the rest.
Whatever goes wrong becomes a ``FetchError`` with a short reason and one line for the operator.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from syndicate.collect.bodies import read_body
from syndicate.collect.fetch_errors import explain, refuse
from syndicate.collect.guard import guarded_connector
from syndicate.collect.unpack import ENCODINGS
from syndicate.collect.waits import find_fresh_s, find_retry_after_s
from syndicate.collect.web_urls import plain_url, redirect_target, web_url
from syndicate.errors import FetchError

__all__ = ["Answer", "Fetched", "Hop", "Link", "NotModified", "fetch", "open_session", "request"]

#: Feeds first: some servers answer one address with a feed or with a page.
ACCEPT: Final = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/rdf+xml;q=0.9, "
    "application/xml;q=0.8, application/json;q=0.8, text/xml;q=0.8, text/html;q=0.6, */*;q=0.4"
)
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset([301, 302, 303, 307, 308])
_PERMANENT: Final = frozenset([301, 308])
_RELATIONS: Final = frozenset(["hub", "self"])
_CONNECT_S: Final = 10.0
_READ_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A redirect that was followed."""

    status: int  #: 301, 302, 303, 307 or 308
    url: str  #: where it led


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A Link header (RFC 8288) that WebSub reads."""

    rel: str  #: hub or self
    url: str  #: absolute


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A document: all of it, or what is new in it."""

    url: str  #: as it was asked for
    final_url: str  #: where the document was found, after redirects
    body: bytes  #: decoded
    content_type: str  #: the header as it came, or empty
    etag: str  #: validators: verbatim, opaque; they belong to ``final_url``
    last_modified: str
    body_hash: str  #: SHA-256 of ``body``, as hex
    hops: tuple[Hop, ...] = ()  #: the way from ``url`` to ``final_url``
    permanent_url: str = ""  #: where its first 301s and 308s lead, up to any other; empty if it has none
    is_partial: bool = False  #: 226 (RFC 3229): only entries that are newer than the validators sent
    fresh_s: float | None = None  #: for how long asking again is said to bring nothing new; None: not said
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotModified:
    """The document is the one that the validators name (RFC 9110 section 15.4.5)."""

    url: str
    hops: tuple[Hop, ...] = ()  #: this and the following as in ``Fetched``
    permanent_url: str = ""
    fresh_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said to a single request, whatever it was."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes  #: decoded
    retry_after_s: float | None  #: a minute to a week, if the server named a time


def open_session(
    *, user_agent: str, allow: Sequence[IPv4Network | IPv6Network] = ()
) -> aiohttp.ClientSession:
    """The session through which everything is fetched; the caller closes it.

    Dials public addresses and those in ``allow``: what is allowed for some sources needs a session of its
    own, so that no other source reaches it by a redirect. Keeps no cookies and ignores the proxies of the
    environment, behind which the guard would see the proxy only. Call it where an event loop runs.
    """
    return aiohttp.ClientSession(
        connector=guarded_connector(allow=allow),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent, "Accept": ACCEPT, "Accept-Encoding": ENCODINGS},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S),
        auto_decompress=False,  # unpack.py says why
        trust_env=False,
    )


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    *,
    etag: str = "",
    last_modified: str = "",
    validators_url: str = "",
    max_bytes: int = 10 * 2**20,
    deadline_s: float = 20.0,
) -> Fetched | NotModified:
    """The document at an http or https URL, or ``NotModified`` if the validators still hold.

    Follows at most five redirects, each judged like the first address; https never leads to http, and the
    credentials of a URL go to its own origin only. Validators are sent to the URL that gave them, which is
    ``validators_url`` (the ``final_url`` of then), or ``url`` itself. ``max_bytes`` bounds the body, packed
    and unpacked, and ``deadline_s`` the whole chain. Raises PrivateAddress and FetchError, whose reason is
    one of bad_url, bad_port, timeout, dns, tls, connection, short_body, bad_encoding, too_large, gone,
    http_NNN, bad_redirect, redirect_loop, too_many_redirects; 429 and 503 bring ``retry_after_s`` if the
    server named a time. 410 is gone unless a temporary redirect led there.
    """
    try:
        async with asyncio.timeout(deadline_s):
            chain = _Chain(url, validators_url, _conditions(etag, last_modified), max_bytes)
            while True:
                found = await chain.ask(session)
                if found is not None:
                    return found
    except TimeoutError:
        raise refuse(url, "timeout", f"did not answer within {deadline_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise explain(url, error) from None


async def request(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    data: bytes | Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = 2**20,
    deadline_s: float = 20.0,
) -> Answer:
    """One request to an http or https URL, and the answer whatever its status; follows no redirect.

    A mapping as ``data`` is sent as a form. Raises PrivateAddress and FetchError as ``fetch`` does, but never
    for a status.
    """
    try:
        async with (
            asyncio.timeout(deadline_s),
            session.request(
                method, web_url(url), data=data, headers=headers, allow_redirects=False
            ) as response,
        ):
            return Answer(
                status=response.status,
                headers=response.headers,
                body=await read_body(response, url, max_bytes),
                retry_after_s=find_retry_after_s(response.headers),
            )
    except TimeoutError:
        raise refuse(url, "timeout", f"did not answer within {deadline_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise explain(url, error) from None


class _Chain:
    """The way from a URL to its document, one request after the other."""

    def __init__(self, url: str, validators_url: str, conditions: dict[str, str], max_bytes: int) -> None:
        self._url, self._conditions, self._max_bytes = url, conditions, max_bytes
        self._at = web_url(url)
        self._validators_url = validators_url
        self._seen: list[URL] = []
        self._hops: list[Hop] = []

    async def ask(self, session: aiohttp.ClientSession) -> Fetched | NotModified | None:
        """What is at the next URL; None if that leads on."""
        if self._at in self._seen:
            raise refuse(self._url, "redirect_loop", "redirects in a circle")
        if len(self._seen) > MAX_REDIRECTS:
            raise refuse(self._url, "too_many_redirects", f"redirects more than {MAX_REDIRECTS} times")
        self._seen.append(self._at)
        conditions = self._conditions if self._is_validated() else {}
        async with session.get(self._at, headers=conditions, allow_redirects=False) as response:
            if response.status in _REDIRECTS:
                self._at = redirect_target(self._at, response.headers.get("Location", ""), self._url)
                self._hops.append(Hop(status=response.status, url=plain_url(self._at)))
                return None
            if response.status == 304 and conditions:
                return NotModified(
                    url=self._url,
                    hops=tuple(self._hops),
                    permanent_url=self._permanent_url(),
                    fresh_s=find_fresh_s(response.headers),
                )
            is_partial = response.status == 226 and "A-IM" in conditions and _is_feed_delta(response)
            if response.status != 200 and not is_partial:
                raise self._refusal(response)
            return await self._take(response, is_partial=is_partial)

    def _is_validated(self) -> bool:
        if not self._validators_url:
            return not self._hops
        return plain_url(self._at) == self._validators_url

    async def _take(self, response: aiohttp.ClientResponse, *, is_partial: bool) -> Fetched:
        body = await read_body(response, self._url, self._max_bytes)
        headers = response.headers
        return Fetched(
            url=self._url,
            final_url=plain_url(self._at),
            body=body,
            content_type=_verbatim(headers, "Content-Type"),
            etag=_verbatim(headers, "ETag"),
            last_modified=_verbatim(headers, "Last-Modified"),
            body_hash=hashlib.sha256(body).hexdigest(),
            hops=tuple(self._hops),
            permanent_url=self._permanent_url(),
            is_partial=is_partial,
            fresh_s=find_fresh_s(headers),
            links=_list_links(response) if "Link" in headers else (),
        )

    def _permanent_url(self) -> str:
        permanent_url = ""
        for hop in self._hops:
            if hop.status not in _PERMANENT:
                break
            permanent_url = hop.url
        return permanent_url

    def _refusal(self, response: aiohttp.ClientResponse) -> FetchError:
        status = response.status
        if status == 410 and all(hop.status in _PERMANENT for hop in self._hops):
            return refuse(self._url, "gone", "is gone for good (410)")
        wait_s = find_retry_after_s(response.headers) if status in {429, 503} else None
        return refuse(self._url, f"http_{status}", f"answered {status}", retry_after_s=wait_s)


def _conditions(etag: str, last_modified: str) -> dict[str, str]:
    conditions = {"If-Modified-Since": last_modified} if last_modified else {}
    if etag:
        # RFC 3229 section 10.5.3: who names a version may be answered with what is newer than that.
        conditions |= {"If-None-Match": etag, "A-IM": "feed"}
    return conditions


def _verbatim(headers: CIMultiDictProxy[str], name: str) -> str:
    # Bytes that are no UTF-8 can neither be stored nor be sent again as they were.
    value = headers.get(name, "")
    return value if value.isprintable() else ""


def _is_feed_delta(response: aiohttp.ClientResponse) -> bool:
    # RFC 3229 section 10.5.2 lists what was done to the document; we can undo nothing else.
    done = ",".join(response.headers.getall("IM", ())).lower().split(",")
    return [manipulation.strip() for manipulation in done] == ["feed"]


def _list_links(response: aiohttp.ClientResponse) -> tuple[Link, ...]:
    try:
        found = list(response.links.values())
    except ValueError:  # one of them is no URL
        return ()
    return tuple(
        Link(rel=rel, url=str(link["url"]))
        for link in found
        for rel in str(link.get("rel", "")).lower().split()
        if rel in _RELATIONS and "anchor" not in link  # an anchor speaks of another document
        if str(link["url"]).startswith(("http://", "https://"))
    )
