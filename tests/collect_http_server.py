"""A scripted HTTP server on 127.0.0.1: each path answers with exact bytes, and what was asked is kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter], object]


def answer(body: bytes | str = b"", *, status: int = 200, length: int | None = None, **headers: str) -> bytes:
    """The bytes of a response; header names are written with underscores."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + data


@dataclass
class HttpServer:
    """Where it listens, what it answers (by path), and the heads of the requests that came."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            found = self.answers.get(head.split(" ")[1], answer(status=404))
            if isinstance(found, bytes):
                writer.write(found)
            else:
                await found(writer)  # type: ignore[misc]
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.requests]


@asynccontextmanager
async def http_server(
    answers: Mapping[str, Answer] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    address: str = "127.0.0.1",
) -> AsyncIterator[HttpServer]:
    """The server, listening while the block runs."""
    here = HttpServer(dict(answers or {}))
    server = await asyncio.start_server(here.serve, address, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    here.url = f"{'https' if tls else 'http'}://{address}:{port}"
    try:
        yield here
    finally:
        server.close()
