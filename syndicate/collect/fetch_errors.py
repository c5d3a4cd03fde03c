"""One of our errors for whatever goes wrong between us and a server. Opens nothing, decides nothing.

The line for the operator never has credentials in it, nor the address that was dialled.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import Final

import aiohttp

from syndicate.collect.guard import AddressRefusedError, PortRefusedError
from syndicate.collect.unpack import UnpackError
from syndicate.errors import FetchError, PrivateAddress

__all__ = ["explain", "refuse"]

_BROKE_OFF: Final = ("short_body", "broke off before its end")
#: aiohttp's errors, in this order, since many of them are kinds of others.
_EXPLAINED: Final = (
    ((aiohttp.InvalidURL, UnicodeError), ("bad_url", "is no address that can be read")),
    ((aiohttp.ClientConnectorDNSError,), ("dns", "cannot be reached: its name is not known")),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError, ssl.SSLError),
        ("tls", "cannot be reached safely: its certificate or encryption is not valid"),
    ),
    ((aiohttp.ClientPayloadError,), _BROKE_OFF),
)


def refuse(url: str, reason: str, detail: str, *, retry_after_s: float | None = None) -> FetchError:
    """An error about a URL, which is named without its credentials."""
    return FetchError(_without_credentials(url), reason, detail, retry_after_s=retry_after_s)


def explain(url: str, error: Exception) -> FetchError:
    """One of our errors for one of the guard's, of ``unpack``'s, or of aiohttp's."""
    cause = getattr(error, "os_error", None)
    if isinstance(cause, AddressRefusedError):
        return PrivateAddress(_without_credentials(url))
    if isinstance(cause, PortRefusedError):
        return refuse(url, "bad_port", "names a port that belongs to another service")
    if isinstance(error, UnpackError):
        return refuse(url, *_explain_packing(error))
    for kinds, words in _EXPLAINED:
        if isinstance(error, kinds):
            return refuse(url, *words)
    return refuse(url, "connection", f"cannot be reached: {_system_error(error)}")


def _explain_packing(error: UnpackError) -> tuple[str, str]:
    if error.reason == "short_body":
        return _BROKE_OFF
    return "bad_encoding", "is packed in a way that cannot be undone"


def _system_error(error: Exception) -> str:
    # Its own text may name the address that was dialled, which is for the log only.
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()
    return "the server broke off" if isinstance(error, aiohttp.ServerConnectionError) else "no valid answer"


def _without_credentials(url: str) -> str:
    return re.sub(r"^([a-zA-Z][\w+.-]*://)[^/?#]*@", r"\1", url) if "@" in url else url
