"""A scripted SMTP server on loopback: what it says to whom is a plan, and what it accepted is on record."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

__all__ = ["ACCEPT_AND_DROP", "DROP", "HANG", "Accepted", "ScriptedServer"]

#: Instead of a reply: the connection is closed.
DROP: Final = "<drop>"
#: At the dot: the message is accepted, and the connection closed before the reply.
ACCEPT_AND_DROP: Final = "<accept and drop>"
#: Instead of a reply: nothing, for ever.
HANG: Final = "<hang>"

_DEFAULTS: Final = {
    "connect": "220 scripted.example ESMTP",
    "starttls": "220 go ahead",
    "auth": "235 2.7.0 welcome",
    "mail": "250 2.1.0 sender ok",
    "rcpt": "250 2.1.5 recipient ok",
    "data": "354 go ahead",
    "dot": "250 2.0.0 queued",
    "rset": "250 2.0.0 reset",
    "quit": "221 2.0.0 bye",
}


#: Instead of the defaults, where a command has no place (RFC 5321 section 4.1.4).
_OUT_OF_ORDER: Final = {
    "mail": "503 5.5.1 nested MAIL",
    "rcpt": "503 5.5.1 need MAIL",
    "data": "554 5.5.1 no valid recipients",
    "dot": "554 5.5.1 no valid recipients",
}


@dataclass(slots=True)
class _Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    has_sender: bool = False
    has_recipient: bool = False

    def is_in_order(self, stage: str) -> bool:
        match stage:
            case "mail":
                return not self.has_sender
            case "rcpt":
                return self.has_sender
            case "data" | "dot":
                return self.has_recipient
            case _:
                return True

    def note(self, stage: str, code: int) -> None:
        is_good = 200 <= code < 300
        if stage in {"dot", "ehlo"} or (stage == "rset" and is_good):
            self.has_sender = self.has_recipient = False
        elif stage == "mail":
            self.has_sender |= is_good
        elif stage == "rcpt":
            self.has_recipient |= is_good


class _ClosedError(Exception):
    """The conversation is over."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message for which this server took responsibility."""

    recipient: str
    content: bytes  #: as it was before dots were doubled


class ScriptedServer:
    """Listens as long as its context lasts; says 250 and the like unless the plan has something else.

    Out of order (a second MAIL without RSET, DATA without a recipient that was accepted) it says 503 or 554.

    ``plan`` gives for a stage (connect, ehlo, starttls, auth, mail, rcpt, data, dot, rset, quit) what to say:
    one text for every time, or several, one after another, and then the default again. ``recipients`` does so
    for one recipient's rcpt, data and dot, which goes first. A text is sent as it is, with a CRLF at its end;
    421 closes the connection.
    """

    def __init__(
        self,
        *,
        plan: Mapping[str, str | Sequence[str]] | None = None,
        recipients: Mapping[str, Mapping[str, str | Sequence[str]]] | None = None,
        extensions: Sequence[str] = ("PIPELINING", "SIZE 10000000", "8BITMIME"),
        tls: ssl.SSLContext | None = None,
        is_implicit: bool = False,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.commands: list[str] = []  #: as they came, of all connections
        self.raw_contents: list[bytes] = []  #: with the doubled dots, up to and with the final one
        self.connections = 0
        self.most_at_once = 0
        self.hanging = asyncio.Event()  #: set as soon as the plan has it hang somewhere
        self.heard = asyncio.Event()  #: set with each command
        self._plan = {stage: _script(says) for stage, says in (plan or {}).items()}
        self._recipients = {
            recipient: {stage: _script(says) for stage, says in script.items()}
            for recipient, script in (recipients or {}).items()
        }
        self._extensions, self._tls, self._is_implicit = extensions, tls, is_implicit
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def verbs(self) -> list[str]:
        """The commands without what followed them."""
        return [command.partition(" ")[0] for command in self.commands]

    async def __aenter__(self) -> Self:
        context = self._tls if self._is_implicit else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.most_at_once = max(self.most_at_once, len(self._tasks))
        try:
            await self._talk(_Wire(reader, writer))
        except (_ClosedError, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if self._tls else writer.close()

    async def _talk(self, wire: _Wire) -> None:
        is_encrypted, recipient = self._is_implicit, ""
        await self._say(wire, "connect")
        while True:
            line = (await wire.reader.readuntil(b"\r\n")).decode("utf-8").removesuffix("\r\n")
            self.commands.append(line)
            self.heard.set()
            verb = line.partition(" ")[0].upper()
            match verb:
                case "EHLO" | "HELO":
                    await self._say(wire, "ehlo", default=self._greeting(verb, is_encrypted=is_encrypted))
                case "STARTTLS":
                    if await self._say(wire, "starttls") == 220:
                        assert self._tls is not None
                        await wire.writer.start_tls(self._tls)
                        is_encrypted = True
                case "AUTH" if line.upper().startswith("AUTH LOGIN"):
                    wire.writer.write(b"334 UGFzc3dvcmQ6\r\n")
                    self.commands.append((await wire.reader.readuntil(b"\r\n")).decode().strip())
                    await self._say(wire, "auth")
                case "RCPT":
                    recipient = line.partition("<")[2].partition(">")[0]
                    await self._say(wire, "rcpt", recipient)
                case "DATA":
                    if await self._say(wire, "data", recipient) == 354:
                        await self._take(wire, recipient)
                case "QUIT":
                    await self._say(wire, "quit")
                    raise _ClosedError
                case _:
                    await self._say(wire, verb.lower(), default="500 what?")

    async def _take(self, wire: _Wire, recipient: str) -> None:
        lines = []
        while (line := await wire.reader.readuntil(b"\n")) != b".\r\n":
            lines.append(line)
        self.raw_contents.append(b"".join([*lines, line]))
        content = b"".join(each.removeprefix(b".") for each in lines)
        says = self._next(wire, "dot", recipient)
        if says == ACCEPT_AND_DROP or says.startswith("2"):
            self.accepted.append(Accepted(recipient, content))
        wire.note("dot", await self._write(wire, DROP if says == ACCEPT_AND_DROP else says))

    async def _say(self, wire: _Wire, stage: str, recipient: str = "", default: str = "") -> int:
        code = await self._write(wire, self._next(wire, stage, recipient, default))
        wire.note(stage, code)
        return code

    def _next(self, wire: _Wire, stage: str, recipient: str = "", default: str = "") -> str:
        for scripts in (self._recipients.get(recipient, {}), self._plan):
            says = scripts.get(stage)
            if isinstance(says, str):
                return says
            if says:
                return says.pop(0)
        return (_DEFAULTS if wire.is_in_order(stage) else _OUT_OF_ORDER).get(stage, default)

    async def _write(self, wire: _Wire, says: str) -> int:
        if says == DROP:
            raise _ClosedError
        if says == HANG:
            self.hanging.set()
            async for line in wire.reader:
                self.commands.append(line.decode().strip())
            raise _ClosedError
        wire.writer.write(says.encode("utf-8") + b"\r\n")
        await wire.writer.drain()
        if says.startswith("421"):
            raise _ClosedError
        return int(says[:3]) if says[:3].isdecimal() else 0

    def _greeting(self, verb: str, *, is_encrypted: bool) -> str:
        lines = ["scripted.example", *self._extensions]
        if verb == "HELO":
            return "250 scripted.example"
        if self._tls is not None and not is_encrypted:
            lines.append("STARTTLS")
        return "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"])


def _script(says: str | Sequence[str]) -> str | list[str]:
    return says if isinstance(says, str) else list(says)
