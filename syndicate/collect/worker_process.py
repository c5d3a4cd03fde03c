"""The other side of ``workers``: what runs in a parser process. Knows no pool.

It answers one job after the other. It ends when its parent does, for its socket ends then; and a job that
never ends is ended by an alarm, in case nobody is left to do it.
"""

from __future__ import annotations

import gc
import math
import pickle
import resource
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# Imported at once, so that it counts as mapped when memory is limited. What else a job needs it imports.
import syndicate.collect.parse  # noqa: F401
from syndicate.errors import ParseError

__all__ = ["FAILED", "HEADER", "REFUSED", "RESULT", "serve"]

HEADER: Final = struct.Struct(">Q")  #: length of the pickle that follows; 0 says "ready"
RESULT: Final = "result"
REFUSED: Final = "refused"  #: a ParseError's location, reason, detail
FAILED: Final = "failed"  #: type and text of any other exception

_ALARM_AFTER_S: Final = 2.0  # later than the parent's own limit
_PIECE_BYTES: Final = 1 << 20


def serve(descriptor: int, memory_bytes: int) -> None:
    """Answers jobs from a socket until it ends; may map ``memory_bytes`` more than it has mapped now."""
    gc.freeze()  # what is imported stays
    _limit_memory(memory_bytes)
    with socket.socket(fileno=descriptor) as link:
        link.sendall(HEADER.pack(0))
        while (job := _receive(link)) is not None:
            limit_s, function, args, kwargs = pickle.loads(job)  # noqa: S301 - our parent wrote it
            signal.alarm(math.ceil(limit_s + _ALARM_AFTER_S))
            kind, answer = _answer(function, args, kwargs)
            data = _pickled(kind, answer)
            signal.alarm(0)
            link.sendall(HEADER.pack(len(data)) + data)


def _answer(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[str, Any]:
    try:
        return RESULT, function(*args, **kwargs)
    except ParseError as error:
        return REFUSED, (error.location, error.reason, error.detail)
    except MemoryError:
        return REFUSED, ("", "xml_limit", "needs more memory than any document may; it was not read")
    except Exception as error:  # noqa: BLE001 - one document's fault is not the process's end
        return FAILED, f"{type(error).__name__}: {error}"


def _pickled(kind: str, answer: Any) -> bytes:
    try:
        return pickle.dumps((kind, answer), protocol=5)
    except (MemoryError, pickle.PicklingError, TypeError, AttributeError) as error:
        return pickle.dumps((FAILED, f"{type(error).__name__}: {error}"), protocol=5)


def _receive(link: socket.socket) -> bytearray | None:
    head = _exactly(link, HEADER.size)
    return _exactly(link, HEADER.unpack(head)[0]) if head is not None else None


def _exactly(link: socket.socket, count: int) -> bytearray | None:
    data = bytearray(count)
    view = memoryview(data)
    done = 0
    while done < count:
        got = link.recv_into(view[done : done + _PIECE_BYTES])
        if not got:
            return None
        done += got
    return data


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():  # Linux; elsewhere the limit is not kept anyway
        mapped = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit = mapped + memory_bytes
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
