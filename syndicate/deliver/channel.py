"""A connected socket that never waits, with or without TLS. Knows no SMTP and has no timers.

On the socket itself and not on one of the loop's transports: those keep a buffer of their own, and what
lies in it may or may not have left. Here it is known of each byte whether it was handed to the system, so it
can be told whether the dot that ends a message is still with us. It costs less, too, most of all under TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final

from syndicate.deliver.poller import READ, WRITE, Poller, Watcher

__all__ = ["Channel"]

#: As much as is handed over at once; our choice. Most messages are smaller.
_CHUNK_BYTES: Final = 2**16

#: A whole record of TLS, so that nothing of it stays behind where the loop does not see it (RFC 8446 5.1).
_RECEIVED_BYTES: Final = 2**14

_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Channel:
    """Takes over a connected socket and closes it in the end.

    ``watcher`` is told by the poller once something came in, or more can be written of what had to wait.
    """

    def __init__(self, connected: socket.socket, poller: Poller, watcher: Watcher) -> None:
        self._socket = connected
        self._poller, self._watcher = poller, watcher
        self._rest = memoryview(b"")  #: what was not handed over yet
        self._size_bytes = 0  #: of what was written last
        self._is_encrypted = False
        self.is_blocked = False  #: whether something is left to hand over
        connected.setblocking(False)  # noqa: FBT003 - the signature is the system's
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def gone_bytes(self) -> int:
        """How much of what was written last may have left: that it arrived is not said.

        TLS takes a chunk as a whole or keeps an unknown part of it, so one that it did not take may be gone.
        """
        rest = len(self._rest)
        return self._size_bytes - rest + (min(rest, _CHUNK_BYTES) if self._is_encrypted else 0)

    def listen(self) -> None:
        """From now on what comes in is told."""
        self._poller.watch(self._socket.fileno(), READ, self._watcher)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypts, and listens. Raises OSError, of which SSLError is one.

        What comes in from here on is taken for part of the handshake.
        """
        self._poller.forget(self._socket.fileno())
        self._socket = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        while (wanted := self._shake_hands(self._socket)) is not None:
            ready = asyncio.get_running_loop().create_future()
            self._poller.watch(
                self._socket.fileno(), wanted, lambda *_, ready=ready: ready.done() or ready.set_result(None)
            )
            await ready
        self._is_encrypted = True
        self.listen()

    def read(self) -> bytes | None:
        """What came in; empty if the other side has ended it, None if there is nothing. Raises OSError."""
        try:
            return self._socket.recv(_RECEIVED_BYTES)
        except _NOT_NOW:
            return None

    def write(self, data: bytes) -> None:
        """Hands over as much as the system takes, and the rest by ``write_more``.

        Nothing of the last call may be left. Raises nothing: what is wrong with the connection is told to
        whoever reads, after the last that the other side had to say.
        """
        self._size_bytes = size = len(data)
        sent = 0
        if size <= _CHUNK_BYTES:
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0  # the same will happen below
            if sent == size:
                return
        self._rest = memoryview(data)[sent:]
        self.write_more()

    def write_more(self) -> None:
        """Hands over what is left, chunk by chunk: TLS wants the same one again if it did not take it."""
        events = READ
        try:
            while self._rest:
                count = self._socket.send(self._rest[:_CHUNK_BYTES])
                self._rest = self._rest[count:]
        except (BlockingIOError, ssl.SSLWantWriteError):
            events = READ | WRITE
        except OSError:
            events = READ  # TLS may have to read first; else there is only the reader's word to wait for
        self.is_blocked = bool(self._rest)
        self._poller.watch(self._socket.fileno(), events, self._watcher)

    def close(self) -> None:
        """Closes it at once, without the farewell of TLS: that would have to wait."""
        number = self._socket.fileno()
        if number >= 0:
            self._poller.forget(number)
            with suppress(OSError):
                self._socket.close()

    def _shake_hands(self, encrypted: ssl.SSLSocket) -> int | None:
        """What the handshake has to wait for, if it is not over."""
        try:
            encrypted.do_handshake()
        except ssl.SSLWantReadError:
            return READ
        except ssl.SSLWantWriteError:
            return WRITE
        return None
