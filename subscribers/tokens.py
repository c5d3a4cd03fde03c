"""The signed links that readers hold: a token says which subscription and for what, and nothing else.

No token is stored, so a stolen database holds none. Reads no clock, and does not know whether what a link
asks for is still allowed: that is decided in ``consent``.
"""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from subscribers.errors import ExpiredLink, InvalidLink
from subscribers.mac import Mac

__all__ = ["CONFIRM_LIFETIME", "ConfirmLink", "Links"]

#: How long somebody has to confirm; our choice.
CONFIRM_LIFETIME: Final = timedelta(days=7)

#: How far the clocks of two machines may differ. A token from further in the future was made by a wrong
#: clock and would live too long.
_MAX_SKEW: Final = timedelta(minutes=5)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MIN_SECRET_BYTES: Final = 16  # 128 bits
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")  # RFC 4648 section 5
_TOKEN: Final = re.compile(r"[1-9][0-9]{0,18}(?:\.[0-9]{1,18})?\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmLink:
    """What a confirmation link says."""

    subscription_id: int
    issued_at: datetime


class Links:
    """Makes and reads the tokens of one installation, from its secret of at least 16 bytes.

    Each purpose has a key of its own, so that a token for one is worthless for another. Tokens are ASCII and
    need no encoding in a URL. Those to unsubscribe and for the preferences are the same on every call, since
    each attempt to send a message has the same bytes, and never expire: a reader may take up an old mail.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _MIN_SECRET_BYTES:
            raise ValueError(f"the secret has {len(secret)} bytes; at least {_MIN_SECRET_BYTES} are needed")
        self._confirm = _purpose(secret, "confirm")
        self._unsubscribe = _purpose(secret, "unsubscribe")
        self._preferences = _purpose(secret, "preferences")

    def confirm(self, subscription_id: int, *, now: datetime) -> str:
        """The token that confirms a subscription, for ``CONFIRM_LIFETIME`` from now."""
        return _sign(self._confirm, f"{subscription_id}.{(now - _EPOCH) // _MICROSECOND}")

    def unsubscribe(self, subscription_id: int) -> str:
        """The token that ends a subscription (RFC 8058 section 3.1: opaque and hard to forge)."""
        return _sign(self._unsubscribe, str(subscription_id))

    def preferences(self, subscription_id: int) -> str:
        """The token that opens a subscription's preferences."""
        return _sign(self._preferences, str(subscription_id))

    def read_confirm(self, token: str, *, now: datetime) -> ConfirmLink:
        """What a confirmation token says. Raises ExpiredLink, or InvalidLink if it is not one of ours."""
        subscription_id, microseconds = _read(self._confirm, token).split(".")
        issued_at = _EPOCH + int(microseconds) * _MICROSECOND
        if not -_MAX_SKEW <= now - issued_at <= CONFIRM_LIFETIME:
            raise ExpiredLink(min(issued_at + CONFIRM_LIFETIME, now))
        return ConfirmLink(subscription_id=int(subscription_id), issued_at=issued_at)

    def read_unsubscribe(self, token: str) -> int:
        """The subscription that a token ends. Raises InvalidLink."""
        return int(_read(self._unsubscribe, token))

    def read_preferences(self, token: str) -> int:
        """The subscription whose preferences a token opens. Raises InvalidLink."""
        return int(_read(self._preferences, token))


def _purpose(secret: bytes, purpose: str) -> Mac:
    return Mac(hmac.digest(secret, f"subscribers.{purpose}".encode("ascii"), "sha256"))


def _sign(mac: Mac, value: str) -> str:
    # The form is that of itsdangerous' Signer, whose tokens are in mails that have long been sent.
    signature = b2a_base64(mac.digest(value.encode("ascii")), newline=False)
    return f"{value}.{signature.translate(_URL_SAFE, b'=').decode('ascii')}"


def _read(mac: Mac, token: str) -> str:
    # Signed again and compared as text, not decoded: base64 has several spellings of the same bytes, and
    # only the one that we wrote is ours.
    value = token.rpartition(".")[0]
    if not _TOKEN.fullmatch(token) or not hmac.compare_digest(_sign(mac, value), token):
        raise InvalidLink
    return value
