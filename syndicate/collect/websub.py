"""The rules of who subscribes by WebSub (W3C Recommendation, 23 January 2018). Sends and stores nothing.

A hub is asked to push what a source publishes. It makes sure that we mean it, then posts the source's
document to an address of ours that nobody else knows, signed with a secret that we gave it.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Final
from urllib.parse import urljoin, urlsplit

from subscribers.mac import Mac
from syndicate.collect.guard import is_public
from syndicate.collect.links import canonical_link

__all__ = [
    "Callbacks",
    "HubLink",
    "Intent",
    "Lease",
    "Verdict",
    "decide_intent",
    "decide_lease",
    "decide_next_request",
    "is_authentic",
    "is_own_topic",
    "is_reachable",
    "is_signing",
    "is_silent",
    "read_intent",
    "request_form",
    "select_hub",
    "select_redirect",
]

#: How long a subscription is asked for; our choice, and what most hubs grant.
_LEASE_S: Final = 10 * 86_400
#: A longer lease is renewed as if it were this one: a hub that has forgotten us is found out in time.
_LONGEST_LEASE_S: Final = 30 * 86_400
_RENEWED_AFTER: Final = 0.8
_SHORTEST_WAIT_S: Final = 60

#: The first wait for a hub that does not confirm, and the longest one; our choice.
_FIRST_WAIT: Final = timedelta(minutes=10)
_LONGEST_WAIT: Final = timedelta(hours=24)

#: How long after a push a look may still find what the push was about; our choice.
_PUSH_LASTS: Final = timedelta(hours=1)

_LONGEST_URL: Final = 2_000
_LONGEST_REASON: Final = 200
_METHODS: Final = frozenset({"sha1", "sha256", "sha384", "sha512"})
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f]")
_TOKEN: Final = re.compile(r"([0-9a-f]{32})\.[A-Za-z0-9_-]{43}")
#: Names that mean something on one network only (RFC 6761, RFC 6762, and .internal of ICANN).
_LOCAL_NAMES: Final = (".localhost", ".local", ".internal", ".test", ".invalid", ".example", ".onion")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLink:
    """Where to subscribe, and to what."""

    hub_url: str
    topic_url: str  #: exactly as the source names itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a hub says to the callback by GET (sections 5.2 and 5.3)."""

    mode: str  #: subscribe, unsubscribe or denied; others may come
    topic_url: str
    challenge: str
    lease_s: int  #: what it grants, or what we asked for if it does not say
    reason: str  #: of a denial, one line, or empty


class Verdict(StrEnum):
    """What becomes of an intent."""

    SUBSCRIBED = "subscribed"  # echo the challenge: the lease begins
    UNSUBSCRIBED = "unsubscribed"  # echo the challenge: it is over
    DENIED = "denied"
    UNWANTED = "unwanted"  # answer 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a hub pushes, and when it is asked to go on."""

    expires_at: datetime
    renew_at: datetime


class Callbacks:
    """Makes and reads the tokens of our callbacks, and the secrets of hubs, from the installation's secret.

    Both are made of the source's number and the subscription's nonce. A token carries the nonce, so that it
    is known as ours even when the subscription has been forgotten.
    """

    def __init__(self, secret: bytes) -> None:
        self._tokens = Mac(hmac.digest(secret, b"syndicate.websub.callback", "sha256"))
        self._secrets = Mac(hmac.digest(secret, b"syndicate.websub.secret", "sha256"))

    def token(self, source_id: int, nonce: str) -> str:
        """The last part of the callback of a subscription, unguessable."""
        return f"{nonce}.{_code(self._tokens, source_id, nonce)}"

    def find_nonce(self, source_id: int, token: str) -> str | None:
        """The nonce of a token that we made for this source, else None."""
        found = _TOKEN.fullmatch(token)
        if found and hmac.compare_digest(self.token(source_id, found[1]), token):
            return found[1]
        return None

    def secret(self, source_id: int, nonce: str) -> str:
        """The secret with which a hub signs, 43 characters."""
        return _code(self._secrets, source_id, nonce)


def select_hub(hubs: Sequence[str], self_url: str, *, current: str = "") -> HubLink | None:
    """Where to subscribe by the links of a source, or None if it names no usable hub or not itself.

    ``hubs`` and ``self_url`` are absolute; those of the Link headers go before those of the document (section
    4). The ``current`` hub is kept while it is named; else one that speaks https goes first.
    """
    usable = [hub for hub in map(str.strip, hubs) if _is_web_url(hub)]
    topic = self_url.strip()
    if not usable or not _is_web_url(topic):
        return None
    chosen = current if current in usable else next(filter(is_signing, usable), usable[0])
    return HubLink(hub_url=chosen, topic_url=topic)


def select_redirect(hub_url: str, location: str) -> str | None:
    """Where a hub sends a request on (307 and 308, section 5.1.2), or None if it may not go there: the secret
    in it never leaves https.
    """
    target = urljoin(hub_url, location.strip())
    if not location or not _is_web_url(target) or (is_signing(hub_url) and not is_signing(target)):
        return None
    return target


def is_signing(hub_url: str) -> bool:
    """Whether a hub gets a secret, and so has to sign: over http anybody could read it (section 5.1)."""
    return urlsplit(hub_url).scheme == "https"


def is_own_topic(topic_url: str, *source_urls: str) -> bool:
    """Whether a topic is what is read at one of these addresses. A source may name another document as
    itself, such as the whole site's feed for that of one section: what is pushed of it is not the source's.
    """
    return canonical_link(topic_url) in {canonical_link(url) for url in source_urls if url}


def is_reachable(site_url: str) -> bool:
    """Whether hubs on the internet can reach a site of this address, as far as the address tells."""
    host = (urlsplit(site_url).hostname or "").rstrip(".")
    try:
        return is_public(ip_address(host))
    except ValueError:
        return "." in host and not host.endswith(_LOCAL_NAMES)


def request_form(
    mode: str, *, hub_url: str, topic_url: str, callback_url: str, secret: str
) -> dict[str, str]:
    """The form by which a hub is asked to ``subscribe`` or ``unsubscribe`` (section 5.1); over http it holds
    no secret.
    """
    form = {"hub.mode": mode, "hub.topic": topic_url, "hub.callback": callback_url}
    if mode == "subscribe":
        form["hub.lease_seconds"] = str(_LEASE_S)
        if is_signing(hub_url):
            form["hub.secret"] = secret
    return form


def read_intent(params: Mapping[str, str]) -> Intent:
    """What a hub says in the query of a GET; what is missing is empty."""
    lease = params.get("hub.lease_seconds", "")
    granted_s = int(lease) if re.fullmatch(r"[0-9]{1,12}", lease, re.ASCII) else 0
    return Intent(
        mode=params.get("hub.mode", ""),
        topic_url=params.get("hub.topic", ""),
        challenge=params.get("hub.challenge", ""),
        lease_s=granted_s or _LEASE_S,
        reason=" ".join(params.get("hub.reason", "").split())[:_LONGEST_REASON],
    )


def decide_intent(intent: Intent, *, topic_url: str | None, is_wanted: bool) -> Verdict:
    """What becomes of an intent that came to a callback of ours (sections 5.2 and 5.3).

    ``topic_url`` is that of the subscription, None if there is none any more; ``is_wanted`` says whether we
    want its pushes. The topic has to be the very same text.
    """
    if topic_url is not None and intent.topic_url != topic_url:
        return Verdict.UNWANTED
    match intent.mode:
        case "denied" if topic_url is not None:
            return Verdict.DENIED
        case "subscribe" if intent.challenge and topic_url is not None and is_wanted:
            return Verdict.SUBSCRIBED
        case "unsubscribe" if intent.challenge and not is_wanted:
            return Verdict.UNSUBSCRIBED
    return Verdict.UNWANTED


def decide_lease(lease_s: int, *, now: datetime) -> Lease:
    """The lease that a hub grants from now on; it is renewed after four fifths of it, and never more often
    than once a minute.
    """
    length_s = min(lease_s, _LONGEST_LEASE_S)
    return Lease(
        expires_at=now + timedelta(seconds=length_s),
        renew_at=now + timedelta(seconds=max(length_s * _RENEWED_AFTER, _SHORTEST_WAIT_S)),
    )


def decide_next_request(
    failures: int, *, now: datetime, jitter: float, lease_expires_at: datetime | None = None
) -> datetime:
    """When a hub is asked again that does not confirm: after 10 minutes, then twice as long each time, at
    most a day; and when the lease ends, so that this is noticed.

    ``failures`` counts the requests that were not confirmed, this one included; ``jitter`` is from 0 to 1.
    """
    doublings = min(max(failures - 1, 0), 20)
    wait = min(_FIRST_WAIT * (1 << doublings), _LONGEST_WAIT)
    next_at = now + wait * (0.75 + 0.5 * jitter)
    if lease_expires_at is not None and now < lease_expires_at < next_at:
        return lease_expires_at
    return next_at


def is_authentic(signature: str, secret: str, body: bytes) -> bool:
    """Whether ``X-Hub-Signature`` is that of the body (section 7.1), told in constant time.

    Its form is ``method=hexadecimal``; sha1 counts, since HMAC does not need what SHA-1 has lost.
    """
    method, _, given = signature.strip().lower().partition("=")
    if method not in _METHODS:
        return False
    code = hmac.new(secret.encode("ascii"), body, method).hexdigest()
    return hmac.compare_digest(code.encode("ascii"), given.encode("utf-8", "replace"))


def is_silent(delivered_at: datetime | None, *, now: datetime) -> bool:
    """Whether a look that found something new just now shows that the hub, which last pushed at an instant,
    did not announce it.
    """
    return delivered_at is not None and delivered_at < now - _PUSH_LASTS


def _code(mac: Mac, source_id: int, nonce: str) -> str:
    return urlsafe_b64encode(mac.digest(f"{source_id}.{nonce}".encode("ascii"))).decode("ascii").rstrip("=")


def _is_web_url(url: str) -> bool:
    if len(url) > _LONGEST_URL or _UNSAFE.search(url):
        return False
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    # A stranger must not choose credentials for us.
    return has_place and parts.scheme in {"http", "https"} and "@" not in parts.netloc
