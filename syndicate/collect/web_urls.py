"""Which URLs are followed, and what of them is shown. Pure: what is behind a name, the guard sees."""

from __future__ import annotations

from yarl import URL

from syndicate.collect.fetch_errors import refuse

__all__ = ["plain_url", "redirect_target", "web_url"]


def web_url(url: str) -> URL:
    """The http or https URL that a text is. Raises FetchError: bad_url."""
    try:
        parsed = URL(url)
    except ValueError:
        raise refuse(url, "bad_url", "is no address that can be read") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise refuse(url, "bad_url", "is no http or https address")
    return parsed


def plain_url(url: URL) -> str:
    """The URL as it may be stored and shown: without credentials and fragment."""
    if url.raw_user is None and url.raw_password is None and not url.raw_fragment:
        return str(url)
    return str(url.with_user(None).with_fragment(None))


def redirect_target(at: URL, location: str, url: str) -> URL:
    """Where a ``Location`` leads from ``at``, with the credentials of ``at`` if that is its own origin.

    Raises FetchError, bad_redirect, about ``url``: for what is no http or https address, and for a way from
    https to http.
    """
    try:
        target = at.join(URL(location)).with_fragment(None)
    except ValueError:
        raise refuse(url, "bad_redirect", "redirects to an address that cannot be read") from None
    if not location or target.scheme not in {"http", "https"} or not target.host:
        raise refuse(url, "bad_redirect", "redirects to what is no http or https address")
    if at.scheme == "https" and target.scheme == "http":
        raise refuse(url, "bad_redirect", "redirects from https to http, which anybody could read")
    target = target.with_user(None)  # a stranger must not choose credentials for us
    if at.raw_user is None or target.origin() != at.with_user(None).origin():
        return target
    return target.with_user(at.user).with_password(at.password)
