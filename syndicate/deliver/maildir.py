"""Puts mail into a Maildir on this machine, as a delivery agent does. Reads no mail; deletes none."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final

from syndicate.deliver.outcome import Envelope, OutcomeKind, Stage
from syndicate.deliver.transport import LocalTransport, Verdict
from syndicate.deliver.wording import describe_failure
from syndicate.errors import RelayError

__all__ = ["MaildirTransport"]

_FOLDERS: Final = ("tmp", "new", "cur")


class MaildirTransport(LocalTransport):
    """A folder that takes mail; made if it is not there.

    A message is sent once it is on the disk, whole and in ``new``. Its name is made of recipient and
    Message-ID, so that a second attempt replaces the first as long as nobody has read it. The bytes are those
    of the message, after a ``Return-Path`` and a ``Delivered-To``. A folder that cannot be written to is a
    fault that will pass.
    """

    def __init__(self, path: Path, *, connections: int = 1, news: asyncio.Event | None = None) -> None:
        super().__init__(str(path), connections=connections, news=news)
        self._path = path
        self._threads = ThreadPoolExecutor(connections, "maildir")
        self._numbers = count()
        self._is_made = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends as ``abort`` does; what is being written is written to its end in the background."""
        await super().__aexit__(kind, error, trace)
        self._threads.shutdown(wait=False)

    async def check(self) -> None:
        """Makes the folders and writes an empty file, which is deleted again. Raises RelayError."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._try_out)

    async def _hand_over(self, envelope: Envelope) -> Verdict:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._store, envelope)

    def _store(self, envelope: Envelope) -> Verdict:
        trace = f"Return-Path: <{envelope.sender}>\r\nDelivered-To: {envelope.recipient}\r\n"
        message = b"".join(envelope.pieces)
        name = f"new/{_digest(envelope.recipient, message)}.syndicate"
        written = self._write(trace.encode(), message)
        try:
            written.replace(self._path / name)
        except OSError as error:
            raise self._fault(error, written) from None
        try:
            _flush_folder(self._path / "new")
        except OSError as error:
            return Verdict(
                OutcomeKind.UNCERTAIN, Stage.DOT, f"{name} may get lost: {describe_failure(error)}"
            )
        return Verdict(OutcomeKind.SENT, Stage.DOT, f"stored as {name}")

    def _try_out(self) -> None:
        self._write().unlink(missing_ok=True)

    def _write(self, *pieces: bytes) -> Path:
        """A file in ``tmp`` with this content, on the disk. Raises RelayError."""
        path = self._path / "tmp" / f"{os.getpid()}.{next(self._numbers)}.syndicate"
        try:
            self._make_folders()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._fault(error, path) from None
        return path

    def _make_folders(self) -> None:
        if not self._is_made:
            for folder in _FOLDERS:
                (self._path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._is_made = True

    def _fault(self, error: OSError, left_behind: Path) -> RelayError:
        self._is_made = False  # perhaps somebody has taken the folder away
        with suppress(OSError):
            left_behind.unlink(missing_ok=True)
        return RelayError(self._name, "write", describe_failure(error), is_temporary=True)


def _flush_folder(folder: Path) -> None:
    # A file's name is in its folder, which is another thing to flush.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(recipient: str, message: bytes) -> str:
    """What tells this message to this reader from any other one."""
    head = message.partition(b"\r\n\r\n")[0]
    lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    message_id = next((line for line in lines if line[:11].lower() == b"message-id:"), message)
    return sha256(recipient.encode() + b"\0" + message_id).hexdigest()[:40]
