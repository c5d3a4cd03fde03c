"""Names to addresses, in threads that do nothing else. Judges no address: the guard does, at the socket."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Names"]

#: As many names may wait for a silent name server at once; as many as are fetched at once by default.
_THREADS: Final = 50


class Names(AbstractResolver):
    """The system's resolver. Its threads end with it.

    The library's own takes the threads of the event loop, in which articles are stored: a few names whose
    server never answers would stop everything, since nothing ends a question before its time.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host, in the system's order. Raises OSError."""
        question = partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, question)
        return [
            ResolveResult(
                hostname=host,
                host=str(target[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, target in answers
        ]

    async def close(self) -> None:
        """Asks nothing any more; questions that are under way are left alone."""
        self._threads.shutdown(wait=False, cancel_futures=True)
