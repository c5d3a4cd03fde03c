"""URLs of the world: made absolute, and brought to one form for comparison. Fetches nothing."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

__all__ = ["absolute_url", "canonical_link", "is_home_page"]

#: Parameters that tell a server who clicked where, and name no other page. Our choice.
_TRACKING: Final = frozenset(["fbclid", "gclid", "dclid", "msclkid", "mc_cid", "mc_eid", "igshid", "yclid"])
_TRACKING_PREFIX: Final = "utm_"
_IGNORED: Final = re.compile(r"[\t\n\r]")  # as browsers do (URL standard, section 4.4)
#: What joining and splitting would give back as it is.
_PLAIN: Final = re.compile(r"https?://[a-z0-9][a-z0-9.-]*/[\w/.%~+-]*(?:\?[\w=&%.~+/-]+)?", re.ASCII)
_DEFAULT_PORTS: Final = frozenset([80, 443])


def absolute_url(link: str, base: str = "") -> str:
    """The absolute http or https URL that a link means at ``base``; empty if it means none."""
    if _PLAIN.fullmatch(link):
        return link  # nearly all, in a tenth of the time
    try:
        url = urljoin(base, _IGNORED.sub("", link.strip()).replace(" ", "%20"))
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what finds a port that is none
    except ValueError:
        return ""
    return url if parts.scheme in {"http", "https"} and parts.hostname else ""


def canonical_link(url: str) -> str:
    """The form of an absolute URL in which two links to one page are equal. For comparison, never shown.

    Scheme and host in lower case, http as https, without default port, fragment and tracking parameters.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.port is not None and parts.port not in _DEFAULT_PORTS:
        host = f"{host}:{parts.port}"
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([pair for pair in pairs if _names_page(pair[0])])
    return f"https://{host}{parts.path or '/'}{'?' + query if query else ''}"


def is_home_page(url: str, home_url: str = "") -> bool:
    """Whether a URL is the front of a site: such a link tells no two articles apart."""
    parts = urlsplit(url)
    at_root = parts.path in {"", "/"} and not parts.query
    return at_root or (bool(home_url) and canonical_link(url) == canonical_link(home_url))


def _names_page(parameter: str) -> bool:
    return parameter.lower() not in _TRACKING and not parameter.lower().startswith(_TRACKING_PREFIX)
