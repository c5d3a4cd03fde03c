"""Parsing in processes of their own, with limits: one hostile document stops and delays no other.

Guards time and memory. It is no sandbox: a parser that a document has taken over could lie to us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

from syndicate.collect.parse import parse_document
from syndicate.collect.parsed import ParsedSource
from syndicate.collect.worker_process import HEADER, REFUSED, RESULT
from syndicate.errors import ParseError

__all__ = ["ParserPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LIMIT_S: Final = 10.0
_MEMORY_BYTES: Final = 512 << 20
_ANSWER_BYTES: Final = 64 << 20  # what an answer may cost the service
_START_S: Final = 60.0
_IDLE_S: Final = 60.0
_PIECE_BYTES: Final = 1 << 20
_NO_PROCESS: Final = "was not read: no parser process starts here; is memory left?"
#: The same modules as here, wherever this process found them.
_CODE: Final = (
    "import sys; sys.path[:] = sys.argv[3:]; from syndicate.collect.worker_process import serve; "
    "serve(int(sys.argv[1]), int(sys.argv[2]))"
)


class ParserPool:
    """Runs importable functions in at most ``processes`` processes (one for each processor by default).

    A process starts when a job needs it and ends a minute after its last one, or when the pool is closed. For
    one event loop. An asynchronous context manager.
    """

    def __init__(
        self,
        processes: int | None = None,
        *,
        limit_s: float = _LIMIT_S,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        self._slots = asyncio.Semaphore(processes or os.cpu_count() or 1)
        self._limit_s, self._memory_bytes = limit_s, memory_bytes
        self._idle: dict[_Worker, asyncio.TimerHandle] = {}
        self._busy: set[_Worker] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process, with what it is doing."""
        for timer in self._idle.values():
            timer.cancel()
        for worker in self._idle:
            worker.end()
        self._idle.clear()
        for worker in self._busy:
            worker.kill()  # whoever waits for its answer ends it

    async def parse(self, body: bytes, *, url: str, content_type: str, now: datetime) -> ParsedSource:
        """What ``parse_document`` makes of a body; raises what it raises, and what ``run`` does."""
        return await self.run(parse_document, body, url=url, content_type=content_type, now=now)

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What an importable function makes of arguments that can be pickled, in another process.

        Raises the function's ParseError, and ParseError of its own with the reasons ``timeout`` (it took more
        than ten seconds), ``xml_limit`` (or half a gibibyte) and ``crashed``; its location is the argument
        ``url``, if there is one. The jobs of other callers go on.
        """
        url = str(kwargs.get("url") or "the document")
        job = pickle.dumps((self._limit_s, function, args, kwargs), protocol=5)
        async with self._slots:
            worker = self._take(url)
            try:
                await worker.wait_ready(url)
                kind, answer = await worker.ask(job, url, self._limit_s)
            except BaseException:  # after a cancellation nobody knows what it is doing
                worker.end()
                raise
            finally:
                self._give_back(worker)
        if kind == RESULT:
            return cast("_T", answer)
        if kind == REFUSED:
            location, reason, detail = answer
            raise ParseError(location or url, reason, detail)
        raise ParseError(url, "crashed", f"made its parser fail ({answer!a:.120}); please report it to us")

    def _take(self, url: str) -> _Worker:
        if self._idle:
            worker, timer = self._idle.popitem()
            timer.cancel()
        else:
            try:
                worker = _Worker(self._memory_bytes)
            except OSError as error:
                raise ParseError(url, "crashed", f"{_NO_PROCESS} ({error.strerror})") from error
        self._busy.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        if not worker.has_ended:
            loop = asyncio.get_running_loop()
            self._idle[worker] = loop.call_later(_IDLE_S, self._retire, worker)

    def _retire(self, worker: _Worker) -> None:
        del self._idle[worker]
        worker.end()


class _Worker:
    """One process and the socket to it."""

    def __init__(self, memory_bytes: int) -> None:
        self.has_ended = False
        self._is_ready = False
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)  # noqa: FBT003 - the only way to call it
        try:
            self._process = _start(theirs.fileno(), memory_bytes)
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()

    async def wait_ready(self, url: str) -> None:
        """Returns once the process takes jobs; raises ParseError if it does not come up."""
        if self._is_ready:
            return
        try:
            async with asyncio.timeout(_START_S):
                await self._read(HEADER.size)
        except (TimeoutError, EOFError, OSError):
            raise ParseError(url, "crashed", _NO_PROCESS) from None
        self._is_ready = True

    async def ask(self, job: bytes, url: str, limit_s: float) -> tuple[str, Any]:
        """The answer to a job. Raises ParseError where there is none; the process is of no use then."""
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.get_running_loop().sock_sendall(self._socket, HEADER.pack(len(job)) + job)
                (count,) = HEADER.unpack(await self._read(HEADER.size))
                if count > _ANSWER_BYTES:
                    raise ParseError(url, "xml_limit", "becomes larger than any feed; it was not read")
                return cast("tuple[str, Any]", pickle.loads(await self._read(count)))  # noqa: S301 - our process wrote it
        except TimeoutError:
            detail = f"took longer than {limit_s:g} s to read; its source may be made to stop us"
            raise ParseError(url, "timeout", detail) from None
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):  # its socket ends a moment before it does
                await asyncio.to_thread(self._process.wait, 1.0)
            detail = f"made its parser process end ({self.end()}); the document is broken or hostile"
            raise ParseError(url, "crashed", detail) from None

    async def _read(self, count: int) -> bytearray:
        loop = asyncio.get_running_loop()
        data = bytearray(count)
        view = memoryview(data)
        done = 0
        while done < count:
            got = await loop.sock_recv_into(self._socket, view[done : done + _PIECE_BYTES])
            if not got:
                raise EOFError
            done += got
        return data

    def kill(self) -> None:
        """Stops the process, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()

    def end(self) -> str:
        """Stops the process, if it has not ended, closes what belongs to it, and says how it ended."""
        self.has_ended = True
        self.kill()
        self._socket.close()
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name if -code in {*map(int, signal.Signals)} else f"signal {-code}"


def _start(descriptor: int, memory_bytes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-c", _CODE, str(descriptor), str(memory_bytes), *sys.path],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt at the terminal is for the parent
    )
