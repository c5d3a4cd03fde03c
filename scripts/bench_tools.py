"""What the figures of sending need from outside: Postfix's smtp-sink and smtp-source, and other senders.

What is missing is fetched by the machine's own package clients into a cache of ours, below the system's
folder for temporary files. Measures nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

PEERS = ("aiosmtplib==5.1.3", "dkimpy==1.1.8")
_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


class Missing(Exception):
    """A tool is not here and could not be fetched; says which and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """The two test programs of Postfix."""

    sink: str
    source: str
    libraries: str = ""  #: folder of its shared libraries, if they are not the system's

    @property
    def environment(self) -> dict[str, str]:
        """What the programs are run with."""
        return {"PATH": _SYSTEM} | ({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {})


def find_postfix(*, may_fetch: bool) -> Postfix:
    """The programs of the system, or else those of its package, unpacked and not installed.

    Raises Missing.
    """
    path = f"{os.defpath}:{_SYSTEM}"
    sink, source = (shutil.which(name, path=path) for name in ("smtp-sink", "smtp-source"))
    if sink and source:
        return Postfix(sink=sink, source=source)
    folder = cache_folder() / "postfix"
    if not (folder / "usr/sbin/smtp-sink").exists():
        if not may_fetch:
            raise Missing("smtp-sink and smtp-source (of Postfix) are not installed; apt-get install postfix")
        _unpack_postfix(folder)
    found = Postfix(
        sink=str(folder / "usr/sbin/smtp-sink"),
        source=str(folder / "usr/sbin/smtp-source"),
        libraries=str(folder / "usr/lib/postfix"),
    )
    lacking = [
        line.split()[0] for line in _run(["ldd", found.sink], found).splitlines() if "not found" in line
    ]
    if lacking:
        raise Missing(f"smtp-sink was unpacked and lacks {', '.join(lacking)}; apt-get install postfix")
    return found


def _unpack_postfix(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    try:
        _run(["apt-get", "download", "postfix"], cwd=folder)
        _run(["dpkg-deb", "-x", str(next(folder.glob("postfix_*.deb"))), str(folder)])
    except (OSError, StopIteration, subprocess.CalledProcessError):
        raise Missing("Postfix's package cannot be had here; install smtp-sink and smtp-source") from None


def find_peers(*, may_fetch: bool) -> str:
    """The Python that has the other senders. Raises Missing."""
    return find_environment("peers", PEERS, "aiosmtplib, dkim", may_fetch=may_fetch)


def find_environment(name: str, packages: Sequence[str], modules: str, *, may_fetch: bool) -> str:
    """The Python of an environment that holds these packages and nothing else, made once; ``modules`` are
    what is imported to see whether it does. Raises Missing.
    """
    folder = cache_folder() / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = str(folder / "bin/python")
    try:
        _run([python, "-c", f"import {modules}"])
    except (OSError, subprocess.CalledProcessError):
        if not may_fetch:
            raise Missing(f"{' and '.join(packages)} cannot be found in {folder}") from None
    else:
        return python
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        # With the environment of this process: it says where packages come from.
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)  # noqa: S603 - no shell
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(folder, ignore_errors=True)
        raise Missing(f"pip cannot install {' and '.join(packages)} into {folder}") from None
    return python


def cache_folder() -> Path:
    """A folder that is kept between runs. Raises Missing if somebody else was there first."""
    folder = Path(tempfile.gettempdir()) / f"syndicate-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # What lies in it is executed.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise Missing(f"{folder} is not ours alone; remove it")
    return folder


def silence() -> None:
    """Turns the program's log off, in this process."""
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )


def _run(words: Sequence[str], postfix: Postfix | None = None, cwd: Path | None = None) -> str:
    environment = postfix.environment if postfix else None
    return subprocess.run(  # noqa: S603 - programs of the system, no shell
        words, check=True, capture_output=True, text=True, env=environment, cwd=cwd
    ).stdout


@contextmanager
def running_sink(postfix: Postfix) -> Iterator[int]:
    """A relay that accepts everything and keeps nothing, in a process of its own; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(  # noqa: S603 - as above
        [postfix.sink, *as_nobody, f"127.0.0.1:{port}", "200"],
        env=postfix.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_listens(port)
        yield port
    finally:
        process.kill()
        process.wait()


def _wait_until_it_listens(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise Missing("smtp-sink is here and does not start")


def run_source(postfix: Postfix, port: int, messages: int, connections: int, file: Path) -> dict[str, float]:
    """What smtp-source takes to send the message of a file over and over, its own start (a thousandth or two)
    included.
    """
    words = [postfix.source, "-m", str(messages), "-s", str(connections), "-d", "-F", str(file)]
    words += ["-f", "letters@example.org", "-t", "reader@example.com", f"127.0.0.1:{port}"]
    began_s = time.perf_counter()
    process = subprocess.Popen(words, env=postfix.environment)  # noqa: S603 - as above
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Missing(f"smtp-source ended with {process.returncode}")
    seconds = time.perf_counter() - began_s
    cpu_us = (used.ru_utime + used.ru_stime) / messages * 1e6
    return {"cpu_us": cpu_us, "messages_s": messages / seconds}
