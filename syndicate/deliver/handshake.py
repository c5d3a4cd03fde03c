"""How a connection to the relay is opened: greeting, TLS, AUTH. Sends no message and tries nothing twice."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable

import aiosmtplib
from aiosmtplib import SMTPConnectError, SMTPException, SMTPHeloError, SMTPResponseException

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Stage
from syndicate.deliver.relay import RelaySettings
from syndicate.deliver.session import Session, Timeouts, close_now
from syndicate.deliver.wording import clean_reply, describe_failure
from syndicate.errors import RelayError

__all__ = ["open_session"]


async def open_session(
    settings: RelaySettings, tls_context: ssl.SSLContext | None, timeouts: Timeouts
) -> Session:
    """A connection that has been greeted, encrypted and authenticated as the settings say.

    Raises RelayError. TLS that the settings ask for is never done without, and a failed handshake or a
    refused password is not tried in another way.
    """
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        local_hostname=settings.local_hostname or None,
        timeout=timeouts.command_s,
        use_tls=settings.tls == "implicit",
        start_tls=False,
        tls_context=tls_context,
    )
    try:
        await _step(settings, Stage.CONNECT, client.connect(timeout=timeouts.connect_s))
        await _step(settings, Stage.CONNECT, _greet(client, settings))
        if settings.tls == "starttls":
            await _start_tls(client, settings)
        if settings.username:
            await _log_in(client, settings)
    except BaseException:
        close_now(client)
        raise
    return Session(client, settings.name, timeouts)


async def _greet(client: aiosmtplib.SMTP, settings: RelaySettings) -> None:
    try:
        await client.ehlo()
    except SMTPHeloError as error:
        # A server without extensions will do as long as none is needed (RFC 5321 section 3.2).
        if error.code not in {500, 502} or settings.tls == "starttls" or settings.username:
            raise
        await client.helo()


async def _start_tls(client: aiosmtplib.SMTP, settings: RelaySettings) -> None:
    if not client.supports_extension("starttls"):
        raise RelayError(
            settings.name, Stage.TLS, 'STARTTLS is not offered; [smtp] tls = "implicit" may be what it speaks'
        )
    await _step(settings, Stage.TLS, client.starttls())
    # What was said before the handshake counts for nothing (RFC 3207 section 4.2).
    await _step(settings, Stage.TLS, client.ehlo())


async def _log_in(client: aiosmtplib.SMTP, settings: RelaySettings) -> None:
    """One mechanism, once: the library's own ``login`` tries them all, and that can lock an account."""
    credentials = settings.username, settings.password
    if "plain" in client.server_auth_methods:
        await _step(settings, Stage.AUTH, client.auth_plain(*credentials))
    elif "login" in client.server_auth_methods:
        await _step(settings, Stage.AUTH, client.auth_login(*credentials))
    else:
        raise RelayError(settings.name, Stage.AUTH, "neither AUTH PLAIN nor AUTH LOGIN is offered")


async def _step(settings: RelaySettings, stage: Stage, action: Awaitable[object]) -> None:
    try:
        await action
    except (SMTPException, OSError, UnicodeError) as error:
        # Without its cause: the library's frames hold the password.
        raise _fault(settings, stage, error) from None


def _fault(settings: RelaySettings, stage: Stage, error: Exception) -> RelayError:
    cause = error.__cause__ if isinstance(error, SMTPConnectError) and error.__cause__ else error
    code = error.code if isinstance(error, SMTPResponseException) else None
    is_refused = classify(stage, code, "") is RelayFault.REFUSED
    if isinstance(cause, ssl.SSLError):
        stage = Stage.TLS
        is_refused = not isinstance(cause, ssl.SSLEOFError)
    elif isinstance(cause, UnicodeError):
        is_refused = True
    words = _redact(describe_failure(cause), settings)
    return RelayError(settings.name, stage, clean_reply(words), is_temporary=not is_refused)


def _redact(text: str, settings: RelaySettings) -> str:
    """The text without the password in any form in which a server may have seen it."""
    if not settings.password:
        return text
    plain = f"\0{settings.username}\0{settings.password}"
    for secret in (plain, settings.password):
        encoded = base64.b64encode(secret.encode()).decode("ascii")
        text = text.replace(encoded, "***").replace(secret, "***")
    return text
