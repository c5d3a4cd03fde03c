"""The relay as an operator describes it, and what may not go to it in clear text. Opens no connection."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from syndicate.errors import ConfigurationError

__all__ = ["RelaySettings", "make_tls_context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Where the relay is and how to speak to it.

    Raises ConfigurationError if mail would cross a network in clear text without leave (``insecure``), or
    a password would: for that there is no leave.
    """

    host: str  #: its certificate has to match it
    port: int
    username: str  #: for AUTH; empty: none
    #: Asked at each connection with a username, so that a token that was renewed is used at once.
    read_password: Callable[[], str] = field(repr=False)
    auth: Literal["password", "xoauth2"] = "password"  #: for ``xoauth2`` the password is the access token
    tls: Literal["starttls", "implicit", "none"]
    insecure: bool = False
    ca_file: Path | None = None  #: PEM, trusted beside the system's own authorities
    connections: int
    rate_s: float  #: messages a second; 0: no limit
    messages_per_connection: int = 0  #: then a new one is opened; 0: no limit
    idle_s: float = 30.0  #: a connection without work is closed after that
    local_hostname: str = ""  #: what we call ourselves in EHLO; empty: this machine's full name

    def __post_init__(self) -> None:
        """Refuses what is unsafe."""
        if self.tls != "none" or _is_loopback(self.host):
            return
        problems = []
        if not self.insecure:
            problems.append(
                f'[smtp] tls: "none" would send mail to {self.host} in clear text; '
                'use "starttls" or "implicit", or set insecure = true'
            )
        if self.username:
            problems.append(
                f"[smtp] username: the password would go to {self.host} in clear text; "
                'use tls = "starttls" or "implicit"'
            )
        if problems:
            raise ConfigurationError(problems)

    @property
    def name(self) -> str:
        """How messages call the relay."""
        return f"{self.host}:{self.port}"


def make_tls_context(settings: RelaySettings) -> ssl.SSLContext | None:
    """A context that verifies certificate and host name, TLS 1.2 or newer; None if TLS is off.

    Raises ConfigurationError if the CA file is not a file of certificates.
    """
    if settings.tls == "none":
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except ssl.SSLError:
            raise _unreadable(settings.ca_file, "no PEM certificates in it") from None
        except OSError as error:
            raise _unreadable(settings.ca_file, error.strerror) from None
    return context


def _unreadable(path: Path, reason: str | None) -> ConfigurationError:
    return ConfigurationError([f"[smtp] ca_file: {path} cannot be read ({reason})"])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
