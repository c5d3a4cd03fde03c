"""How a connection to the relay is opened: greeting, TLS, AUTH. Sends no message and tries nothing twice."""

from __future__ import annotations

import asyncio
import base64
import ssl

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Stage
from syndicate.deliver.relay import RelaySettings
from syndicate.deliver.replies import Extensions, Reply, parse_extensions
from syndicate.deliver.session import Session, Timeouts
from syndicate.deliver.wording import clean_reply, describe_failure, with_code
from syndicate.errors import RelayError

__all__ = ["open_session"]


async def open_session(
    settings: RelaySettings, tls_context: ssl.SSLContext | None, timeouts: Timeouts
) -> Session:
    """A connection that has been greeted, encrypted and authenticated as the settings say.

    Raises RelayError. TLS that the settings ask for is never done without, and a failed handshake or a
    refused password is not tried in another way.
    """
    session = Session(settings.name, timeouts)
    opening = _Opening(settings, session)
    try:
        await opening.connect(tls_context if settings.tls == "implicit" else None, timeouts.connect_s)
        extensions = await opening.greet()
        if tls_context is not None and settings.tls == "starttls":
            extensions = await opening.encrypt(tls_context, extensions)
        if settings.username:
            await opening.log_in(extensions)
    except (OSError, UnicodeError) as error:
        session.abort()
        # Without its cause: its frames hold the password.
        raise opening.failure(error) from None
    except BaseException:
        session.abort()
        raise
    session.ready(extensions)
    return session


class _Opening:
    """The steps of a handshake, one after another."""

    def __init__(self, settings: RelaySettings, session: Session) -> None:
        self._settings, self._session = settings, session
        self._stage = Stage.CONNECT

    async def connect(self, tls_context: ssl.SSLContext | None, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: self._session, self._settings.host, self._settings.port, ssl=tls_context
            )
            self._require(await self._session.greeting(), 220)

    async def greet(self) -> Extensions:
        name = _host_name(self._settings.local_hostname)
        reply = await self._session.command(b"EHLO " + name)
        # A server without extensions will do as long as none is needed (RFC 5321 section 3.2).
        is_enough = self._settings.tls != "starttls" and not self._settings.username
        if reply.code in {500, 502} and is_enough:
            self._require(await self._session.command(b"HELO " + name), 250)
            return Extensions()
        self._require(reply, 250)
        return parse_extensions(reply.text)

    async def encrypt(self, tls_context: ssl.SSLContext, offered: Extensions) -> Extensions:
        self._stage = Stage.TLS
        if not offered.has_starttls:
            raise self._refusal('STARTTLS is not offered; [smtp] tls = "implicit" may be what it speaks')
        self._require(await self._session.command(b"STARTTLS"), 220)
        await self._session.start_tls(tls_context, self._settings.host)
        return await self.greet()  # what was said before counts for nothing (RFC 3207 section 4.2)

    async def log_in(self, offered: Extensions) -> None:
        """One mechanism, once: trying them all can lock an account."""
        self._stage = Stage.AUTH
        username, password = self._settings.username.encode(), self._settings.password.encode()
        if "PLAIN" in offered.mechanisms:
            reply = await self._session.command(b"AUTH PLAIN " + _base64(b"\0%b\0%b" % (username, password)))
        elif "LOGIN" in offered.mechanisms:
            reply = await self._session.command(b"AUTH LOGIN " + _base64(username))
            self._require(reply, 334)
            reply = await self._session.command(_base64(password))
        else:
            raise self._refusal("neither AUTH PLAIN nor AUTH LOGIN is offered")
        self._require(reply, 235)

    def failure(self, error: Exception) -> RelayError:
        """What the system says as the relay's fault; without TLS or a password in it."""
        is_temporary = not isinstance(error, UnicodeError)
        stage = self._stage
        if isinstance(error, ssl.SSLError):
            stage, is_temporary = Stage.TLS, isinstance(error, ssl.SSLEOFError)
        return self._error(stage, describe_failure(error), is_temporary=is_temporary)

    def _refusal(self, text: str) -> RelayError:
        return self._error(self._stage, text, is_temporary=False)

    def _require(self, reply: Reply, code: int) -> None:
        if reply.code != code:
            is_temporary = classify(self._stage, reply.code, reply.text) is not RelayFault.REFUSED
            raise self._error(self._stage, with_code(reply.code, reply.text), is_temporary=is_temporary)

    def _error(self, stage: Stage, text: str, *, is_temporary: bool) -> RelayError:
        words = clean_reply(_redact(text, self._settings))
        return RelayError(self._settings.name, stage, words, is_temporary=is_temporary)


def _host_name(text: str) -> bytes:
    """The name as one word. Raises UnicodeError if it is none: a name server may have made it up."""
    name = text.encode("idna")
    if len(name.split()) != 1 or not name.decode("ascii").isprintable():
        raise UnicodeError(text)
    return name


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data)


def _redact(text: str, settings: RelaySettings) -> str:
    """The text without the password in any form in which a server may have seen it."""
    if not settings.password:
        return text
    plain = f"\0{settings.username}\0{settings.password}"
    for secret in (plain, settings.password):
        encoded = base64.b64encode(secret.encode()).decode("ascii")
        text = text.replace(encoded, "***").replace(secret, "***")
    return text
