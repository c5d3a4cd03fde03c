"""Hands mail to a program on this machine that takes it as ``sendmail`` does. Speaks no SMTP."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR
from pathlib import Path
from typing import IO, Final

from syndicate.deliver.outcome import Envelope, OutcomeKind, Stage
from syndicate.deliver.transport import LocalTransport, Verdict
from syndicate.deliver.wording import clean_reply, describe_failure
from syndicate.errors import RelayError

__all__ = ["SendmailTransport"]

#: What a program says with its exit code (sysexits.h) of a message, and how far it had come.
_VERDICTS: Final = {
    os.EX_OK: (OutcomeKind.SENT, Stage.DOT),
    os.EX_TEMPFAIL: (OutcomeKind.DEFERRED, Stage.DATA),
    os.EX_OSERR: (OutcomeKind.DEFERRED, Stage.DATA),
    os.EX_IOERR: (OutcomeKind.DEFERRED, Stage.DATA),
    os.EX_NOUSER: (OutcomeKind.FAILED, Stage.RCPT),
    os.EX_NOHOST: (OutcomeKind.FAILED, Stage.RCPT),
    os.EX_DATAERR: (OutcomeKind.FAILED, Stage.DATA),
    os.EX_UNAVAILABLE: (OutcomeKind.FAILED, Stage.DATA),
}

#: Those that speak of the program and how we call it: an operator has to see to it.
_FAULTS: Final = frozenset({os.EX_USAGE, os.EX_SOFTWARE, os.EX_OSFILE, os.EX_NOPERM, os.EX_CONFIG})

#: Errors of starting it that do not pass by themselves.
_LASTING: Final = frozenset({ENOENT, EACCES, ENOEXEC, ENOTDIR})

#: As much of what it says as is looked at.
_WORDS_BYTES: Final = 2000


class SendmailTransport(LocalTransport):
    """The program of this path, once for each message: ``PROGRAM -i -f SENDER -- RECIPIENT``.

    It gets the message with the line ends of Unix. What does not end within ``timeout_s`` is killed, and the
    message is uncertain: it may lie in a queue by then.
    """

    def __init__(
        self,
        program: Path,
        *,
        connections: int = 1,
        news: asyncio.Event | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        super().__init__(str(program), connections=connections, news=news)
        self._program, self._timeout_s = program, timeout_s

    async def check(self) -> None:
        """Looks whether the program is there and may be run. Raises RelayError."""
        if not self._program.is_file():
            raise self._fault("there is no such program", is_temporary=False)
        if not os.access(self._program, os.X_OK):
            raise self._fault("it may not be run", is_temporary=False)

    async def _hand_over(self, envelope: Envelope) -> Verdict:
        # Files, not pipes: what the program leaves running in the background would keep a pipe open.
        try:
            with tempfile.TemporaryFile() as message, tempfile.TemporaryFile() as said:
                message.write(b"".join(envelope.pieces).replace(b"\r\n", b"\n"))
                message.seek(0)  # it writes what is buffered, too
                code = await self._run(envelope, message, said)
                return self._judge_exit(code, _read_words(said))
        except OSError as error:
            words = describe_failure(error)
            raise self._fault(words, is_temporary=error.errno not in _LASTING) from None

    async def _run(self, envelope: Envelope, message: IO[bytes], said: IO[bytes]) -> int | None:
        """The exit code, or None if it took too long."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            "-i",
            "-f",
            envelope.sender,
            "--",
            envelope.recipient,
            stdin=message,
            stdout=said,
            stderr=said,
            start_new_session=True,  # a Ctrl-C is for us: what is begun is waited for
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _judge_exit(self, code: int | None, words: str) -> Verdict:
        if code is None:
            return Verdict(OutcomeKind.UNCERTAIN, Stage.DOT, f"not done after {self._timeout_s:g} seconds")
        if code < 0:
            return Verdict(OutcomeKind.UNCERTAIN, Stage.DOT, f"ended by signal {-code}; {words}")
        words = words or f"exit {code}"
        if code in _FAULTS:
            raise self._fault(words, is_temporary=False)
        kind, stage = _VERDICTS.get(code, (OutcomeKind.DEFERRED, Stage.DATA))
        return Verdict(kind, stage, words)

    def _fault(self, words: str, *, is_temporary: bool) -> RelayError:
        return RelayError(self._name, "run", words, is_temporary=is_temporary)


def _read_words(said: IO[bytes]) -> str:
    with suppress(OSError):
        said.seek(0)
        return clean_reply(said.read(_WORDS_BYTES).decode("utf-8", "replace"))
    return ""
