"""Runs the application on a socket until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from syndicate.errors import OperationError

__all__ = ["open_socket", "run"]


def open_socket(host: str, port: int) -> socket.socket:
    """Listens at an address; port 0 takes a free one. Raises OperationError in one line if it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1024)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperationError(f"port {port} is in use; choose another with --port") from None
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise OperationError(f"cannot listen at {host} port {port}: {reason}") from None
    return listening


def run(app: FastAPI, listening: socket.socket, *, on_start: Callable[[], None] = lambda: None) -> None:
    """Serves until SIGINT or SIGTERM; requests that are under way are finished."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)
    on_start()
    server.run(sockets=[listening])
