"""A mailbox for demonstrations: takes every mail on this machine, keeps it in a Maildir, shows it.

Delivers nothing to anybody, and listens on loopback only: it asks nobody who they are.
"""

from __future__ import annotations

import asyncio
import mailbox
import os
import re
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiosmtpd.smtp import SMTP

from syndicate.deliver.wording import clean_reply
from syndicate.errors import NotFound, OperationError

__all__ = ["Postbox", "StoredMessage", "get_message", "list_messages"]

_HOST: Final = "127.0.0.1"

#: Names as the standard library's Maildir makes them: seconds, microseconds, process, count, host.
_KEY: Final = re.compile(r"(\d{1,11})\.M(\d{1,6})P\d{1,10}Q(\d{1,10})\.[\w.\\-]{1,200}", re.ASCII)

#: Where a list finds all headers; our choice.
_HEAD_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A mail in the postbox, as a list shows it."""

    key: str
    to: str  #: the envelope's recipient
    sender: str  #: From, decoded
    subject: str  #: decoded
    date: datetime  #: when it arrived; UTC
    size_bytes: int


class Postbox:
    """An SMTP server in a thread of its own, running as long as the context lasts.

    ``port`` 0 takes a free one; ``address`` tells host and port once it runs. Each copy begins with
    ``Return-Path`` and ``X-Original-To``, which hold the envelope; after them the message is as it came, byte
    for byte. It is on the disk before it is accepted. Raises OperationError if the port is taken.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.address = (_HOST, port)
        self._folder = folder

    def __enter__(self) -> Self:
        """Makes the folder and starts listening."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._maildir = mailbox.Maildir(self._folder, create=True)
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="postbox", daemon=True)
        self._thread.start()
        try:
            self.address = (_HOST, started.result())
        except OSError as error:
            self._thread.join()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OperationError(f"postbox: cannot listen on port {self.address[1]}: {reason}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops listening and closes what is connected."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._maildir.close()

    async def handle_DATA(self, server: SMTP, session: object, envelope: Any) -> str:  # noqa: N802, ARG002 - aiosmtpd's
        """Stores a copy for each recipient and gives the reply."""
        try:
            for recipient in envelope.rcpt_tos:
                self._store(envelope.mail_from, recipient, envelope.original_content)
        except (OSError, mailbox.Error):
            return "452 4.3.1 the message could not be stored"
        return "250 2.0.0 stored"

    def _store(self, sender: str, recipient: str, content: bytes) -> None:
        trace = f"Return-Path: <{sender}>\r\nX-Original-To: {recipient}\r\n"
        self._maildir.add(trace.encode("utf-8", "surrogateescape") + content)
        # The library has flushed the file; its name is in the folder, which is another thing to flush.
        folder = os.open(self._folder / "new", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _run(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except OSError as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(self._accept, *self.address)
        started.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()  # what is still connected is closed when its task is cancelled, at the end of the loop

    def _accept(self) -> SMTP:
        return SMTP(self, hostname="postbox.localhost", ident="Syndicate postbox", loop=self._loop)


def list_messages(folder: Path) -> list[StoredMessage]:
    """The mails in a postbox, the newest first; none if there is no such folder yet."""
    keys = sorted(_list_keys(folder), key=_arrival, reverse=True)
    messages = []
    for key in keys:
        with suppress(FileNotFoundError):  # taken away in the meantime
            messages.append(_read_entry(folder / "new" / key))
    return messages


def get_message(folder: Path, key: str) -> bytes:
    """A mail with its trace headers, as it lies on the disk. Raises NotFound."""
    if _KEY.fullmatch(key):
        with suppress(FileNotFoundError):
            return (folder / "new" / key).read_bytes()
    newest = [message.key for message in list_messages(folder)[:1]]
    raise NotFound("message", clean_reply(key), newest)


def _list_keys(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [entry.name for entry in (folder / "new").iterdir() if _KEY.fullmatch(entry.name)]
    return []


def _arrival(key: str) -> tuple[int, int, int]:
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(key)
    return int(found[1]), int(found[2]), int(found[3])


def _read_entry(path: Path) -> StoredMessage:
    with path.open("rb") as file:
        headers = BytesHeaderParser().parsebytes(file.read(_HEAD_BYTES))
        size_bytes = os.fstat(file.fileno()).st_size
    seconds, microseconds, _ = _arrival(path.name)
    return StoredMessage(
        key=path.name,
        to=_header(headers, "X-Original-To"),
        sender=_header(headers, "From"),
        subject=_header(headers, "Subject"),
        date=datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds),
        size_bytes=size_bytes,
    )


def _header(headers: Message, name: str) -> str:
    value = str(headers.get(name, ""))
    with suppress(HeaderParseError, LookupError, ValueError):
        value = str(make_header(decode_header(value)))
    return clean_reply(value)
