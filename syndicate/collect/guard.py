"""Which addresses may be dialled, judged when a socket is made. Decides nothing from the text of a URL.

Every outgoing request goes through ``guarded_connector``. The check sees the very address that is dialled,
after the name was resolved, so a name that changes its answer finds no gap.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import aiohttp
import structlog

from syndicate.collect.names import Names

__all__ = ["BAD_PORTS", "AddressRefusedError", "PortRefusedError", "guarded_connector", "is_public"]

_log = structlog.get_logger(__name__)

#: Ports on which a web request is never answered by a web server (the Fetch standard, "bad port").
BAD_PORTS: Final = frozenset(
    {0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95}
    | {101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179}
    | {389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636}
    | {989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566}
    | {6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)

# ``is_global`` calls all of these public on some Python that we support.
_NOT_PUBLIC_4: Final = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526)
)
_NOT_PUBLIC_6: Final = (
    IPv6Network("2001::/23"),  # Teredo, ORCHID and other assignments (RFC 2928)
    IPv6Network("2001:db8::/32"),  # documentation (RFC 3849)
    IPv6Network("2002::/16"),  # 6to4 wraps any IPv4 address (RFC 3056)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
#: What only an entry of its own opens: a wide one is written with the operator's network in mind, and behind
#: these are the services of this machine and the keys of a cloud.
_APART: Final = (
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fe80::/10"),
)
#: Long enough for the next page of the same host, a second later. Nearly every feed has a host of its own:
#: with the library's fifteen seconds, idle connections would use up the files that we may open.
_IDLE_S: Final = 2.0
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has assigned so far (RFC 4291)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_LAST_32_BITS: Final = 0xFFFFFFFF


class AddressRefusedError(OSError):
    """The guard refused an address. The message is constant: happy eyeballs folds several errors into a
    plain OSError unless all of them read alike, and the class would be lost.
    """

    def __init__(self) -> None:
        super().__init__("private_address")


class PortRefusedError(OSError):
    """The guard refused a port; constant in its message for the same reason."""

    def __init__(self) -> None:
        super().__init__("bad_port")


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an address may be dialled without the operator's leave.

    RFC 6890 says which networks are special. An IPv4 address inside an IPv6 one is judged as itself where
    that is what would be dialled (mapped: RFC 4291 section 2.5.5.2; NAT64: RFC 6052).
    """
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return is_public(IPv4Address(int(ip) & _LAST_32_BITS))
        if ip.ipv4_mapped is not None:
            return is_public(ip.ipv4_mapped)
        assigned = ip in _GLOBAL_UNICAST and not any(ip in network for network in _NOT_PUBLIC_6)
    else:
        assigned = not any(ip in network for network in _NOT_PUBLIC_4)
    return assigned and ip.is_global and not ip.is_multicast


def guarded_connector(*, allow: Sequence[IPv4Network | IPv6Network]) -> aiohttp.TCPConnector:
    """A connector that dials public addresses and those in ``allow``, and no port in ``BAD_PORTS``.

    Loopback and link-local addresses are allowed by an entry within their own networks only. A refusal shows
    as ``AddressRefusedError`` or ``PortRefusedError`` in the ``os_error`` of aiohttp's error. The address
    that was refused goes to the log only. Call it where an event loop runs.
    """
    allowed = tuple(allow)

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = info
        host, port = str(target[0]), int(target[1])
        ip = ip_address(host.partition("%")[0])  # a zone id is part of no address
        if port in BAD_PORTS:
            _log.warning("port_refused", address=host, port=port)
            raise PortRefusedError
        if not (is_public(ip) or _is_allowed(ip, allowed)):
            _log.warning("address_refused", address=host, port=port)
            raise AddressRefusedError
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        socket_factory=make_socket,
        resolver=Names(),
        limit=0,  # how many are fetched at once is decided where they are chosen
        keepalive_timeout=_IDLE_S,
    )


def _is_allowed(ip: IPv4Address | IPv6Address, allowed: Sequence[IPv4Network | IPv6Network]) -> bool:
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    apart = next((network for network in _APART if ip in network), None)
    return any(ip in network and (apart is None or _is_within(network, apart)) for network in allowed)


def _is_within(network: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return network.network_address in outer and network.prefixlen >= outer.prefixlen
