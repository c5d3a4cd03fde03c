"""How a connection to the relay is opened: greeting, TLS, AUTH. Sends no message and tries nothing twice."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from typing import Final

from aiohappyeyeballs import start_connection

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Stage
from syndicate.deliver.poller import Poller
from syndicate.deliver.relay import RelaySettings
from syndicate.deliver.replies import Extensions, Reply, parse_extensions
from syndicate.deliver.session import Session, Timeouts
from syndicate.deliver.wording import clean_reply, describe_failure, with_code
from syndicate.errors import RelayError, SyndicateError

__all__ = ["open_session"]

#: How long an address may be silent until the next one is tried beside it (RFC 8305 section 5).
_NEXT_ADDRESS_S: Final = 0.25


async def open_session(
    settings: RelaySettings, tls_context: ssl.SSLContext | None, timeouts: Timeouts, poller: Poller
) -> tuple[Session, Extensions]:
    """A connection that has been greeted, encrypted and authenticated as the settings say.

    Raises RelayError. TLS that the settings ask for is never done without, and a failed handshake or a
    refused password is not tried in another way.
    """
    opening = _Opening(settings, timeouts, poller)
    try:
        return await opening.open(tls_context)
    except (OSError, UnicodeError) as error:
        opening.abort()
        # Without its cause: its frames hold the password.
        raise opening.failure(error) from None
    except BaseException:
        opening.abort()
        raise


class _Opening:
    """The steps of a handshake, one after another."""

    def __init__(self, settings: RelaySettings, timeouts: Timeouts, poller: Poller) -> None:
        self._settings, self._timeouts, self._poller = settings, timeouts, poller
        self._session: Session | None = None
        self._stage = Stage.CONNECT
        self._password = ""

    def abort(self) -> None:
        if self._session is not None:
            self._session.abort()

    async def open(self, tls_context: ssl.SSLContext | None) -> tuple[Session, Extensions]:
        settings = self._settings
        async with asyncio.timeout(self._timeouts.connect_s):
            session = self._session = Session(await self._connect(), self._poller, self._timeouts)
            is_implicit = settings.tls == "implicit"
            self._require(await session.greeting(tls_context if is_implicit else None, settings.host), 220)
        extensions = await self.greet(session)
        if tls_context is not None and settings.tls == "starttls":
            extensions = await self.encrypt(session, tls_context, extensions)
        if settings.username:
            await self.log_in(session, extensions)
        return session, extensions

    async def _connect(self) -> socket.socket:
        """To the first of the relay's addresses that answers (RFC 8305)."""
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._settings.host, self._settings.port, type=socket.SOCK_STREAM)
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)

    async def greet(self, session: Session) -> Extensions:
        name = _host_name(self._settings.local_hostname)
        reply = await session.command(b"EHLO " + name)
        # A server without extensions will do as long as none is needed (RFC 5321 section 3.2).
        is_enough = self._settings.tls != "starttls" and not self._settings.username
        if reply.code in {500, 502} and is_enough:
            self._require(await session.command(b"HELO " + name), 250)
            return Extensions()
        self._require(reply, 250)
        return parse_extensions(reply.text)

    async def encrypt(self, session: Session, context: ssl.SSLContext, offered: Extensions) -> Extensions:
        self._stage = Stage.TLS
        if not offered.has_starttls:
            raise self._refusal('STARTTLS is not offered; [smtp] tls = "implicit" may be what it speaks')
        self._require(await session.command(b"STARTTLS"), 220)
        await session.start_tls(context, self._settings.host)
        return await self.greet(session)  # what was said before counts for nothing (RFC 3207 section 4.2)

    async def log_in(self, session: Session, offered: Extensions) -> None:
        """One mechanism, once: trying them all can lock an account."""
        self._stage = Stage.AUTH
        try:
            self._password = self._settings.read_password()
        except SyndicateError as error:
            raise self._refusal(str(error)) from None
        username, password = self._settings.username.encode(), self._password.encode()
        if self._settings.auth == "xoauth2":
            reply = await self._show_token(session, offered)
        elif "PLAIN" in offered.mechanisms:
            reply = await session.command(b"AUTH PLAIN " + _base64(b"\0%b\0%b" % (username, password)))
        elif "LOGIN" in offered.mechanisms:
            reply = await session.command(b"AUTH LOGIN " + _base64(username))
            self._require(reply, 334)
            reply = await session.command(_base64(password))
        else:
            raise self._refusal("neither AUTH PLAIN nor AUTH LOGIN is offered")
        self._require(reply, 235)

    async def _show_token(self, session: Session, offered: Extensions) -> Reply:
        """XOAUTH2, as Google and Microsoft describe it: a refusal follows an empty answer to its reasons."""
        if "XOAUTH2" not in offered.mechanisms:
            raise self._refusal("AUTH XOAUTH2 is not offered")
        first = _token_response(self._settings.username, self._password)
        reply = await session.command(b"AUTH XOAUTH2 " + _base64(first))
        return await session.command(b"") if reply.code == 334 else reply

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
        words = clean_reply(_redact(text, self._settings.username, self._password))
        return RelayError(self._settings.name, stage, words, is_temporary=is_temporary)


def _host_name(text: str) -> bytes:
    """The name as one word. Raises UnicodeError if it is none: a name server may have made it up."""
    name = text.encode("idna")
    if len(name.split()) != 1 or not name.decode("ascii").isprintable():
        raise UnicodeError(text)
    return name


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data)


def _token_response(username: str, token: str) -> bytes:
    return f"user={username}\1auth=Bearer {token}\1\1".encode()


def _redact(text: str, username: str, password: str) -> str:
    """The text without the password in any form in which a server may have seen it."""
    if not password:
        return text
    plain = f"\0{username}\0{password}".encode()
    for secret in (plain, _token_response(username, password), password.encode()):
        text = text.replace(_base64(secret).decode("ascii"), "***")
    return text.replace(password, "***")
