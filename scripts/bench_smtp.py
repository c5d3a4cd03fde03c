"""Measures what it costs to hand mail to a relay: CPU and wall clock of the sender alone.

    python -m scripts.bench_smtp [--messages N] [--connections N] [--runs N]

The relay is Postfix's smtp-sink, in a process of its own; smtp-source is measured beside us. Without them it
says so and measures nothing: on Debian both come with the package postfix.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

from scripts.bench_tools import Missing, Postfix, find_postfix, running_sink
from syndicate.deliver.outcome import Envelope, OutcomeKind
from syndicate.deliver.smtp import RelaySettings, SmtpRelay

_SENDER: Final = "news@example.org"
_SIZE_BYTES: Final = 40_168
_THREADS: Final = 8  # as many as help smtplib


def main() -> None:
    """Prints a table of medians."""
    parser = argparse.ArgumentParser(description="Figures of sending.")
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    try:
        postfix = find_postfix(may_fetch=False)
    except Missing as error:
        _say(f"sending: not measured; {error}")
        return
    message, count, connections = _message(), options.messages, options.connections
    vouched, unread = (_envelopes(message, count, is_canonical=known) for known in (True, False))
    contestants: dict[str, Callable[[int], None]] = {
        f"ours, {connections} connections": lambda port: _ours(port, vouched, connections),
        "ours, 1 connection": lambda port: _ours(port, vouched, 1),
        "ours, looking through each message": lambda port: _ours(port, unread, connections),
        f"smtplib, {_THREADS} threads": lambda port: _smtplib(port, message, count),
        f"smtp-source, {connections} connections": lambda port: _source(postfix, port, count, connections),
    }
    _say(f"{count} messages of {len(message)} bytes to smtp-sink; medians of {options.runs} runs")
    _say(f"{'sender':<36}{'CPU µs/message':>16}{'messages/s':>12}")
    for name, send in contestants.items():
        with running_sink(postfix) as port:
            figures = [_measure(send, port, count) for _ in range(options.runs)]
        cpu_us, rate_s = (median(column) for column in zip(*figures, strict=True))
        _say(f"{name:<36}{cpu_us:>16.0f}{rate_s:>12.0f}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _message() -> bytes:
    head = b"Subject: Figures\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    line = b'<p style=3D"margin:0">The quick brown fox jumps over the lazy dog</p>=\r\n'
    body = line * ((_SIZE_BYTES - len(head)) // len(line))
    return head + body + b"x" * (_SIZE_BYTES - len(head) - len(body) - 2) + b"\r\n"


def _measure(send: Callable[[int], None], port: int, count: int) -> tuple[float, float]:
    """CPU in µs for each message, and messages a second."""
    before_s, began_s = _cpu_s(), time.perf_counter()
    send(port)
    return (_cpu_s() - before_s) / count * 1e6, count / (time.perf_counter() - began_s)


def _cpu_s() -> float:
    """Of this process and of the senders that it started; the sink counts only when it has ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def _envelopes(message: bytes, count: int, *, is_canonical: bool) -> list[Envelope]:
    return [
        Envelope(
            key=key,
            sender=_SENDER,
            recipient=f"reader{key}@example.com",
            pieces=(message,),
            is_canonical=is_canonical,
        )
        for key in range(count)
    ]


def _ours(port: int, envelopes: Sequence[Envelope], connections: int) -> None:
    settings = RelaySettings(
        host="127.0.0.1",
        port=port,
        username="",
        read_password=lambda: "",
        tls="none",
        connections=connections,
        rate_s=0.0,
        local_hostname="bench.example.org",
    )

    async def deliver() -> None:
        async with SmtpRelay(settings) as relay:
            report = await relay.deliver(envelopes)
        if not all(outcome.kind is OutcomeKind.SENT for outcome in report.outcomes):
            sys.exit(f"the sink did not take everything: {report.fault}")

    asyncio.run(deliver())


def _smtplib(port: int, message: bytes, count: int) -> None:
    def send(thread: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="bench.example.org") as client:
            for key in range(thread, count, _THREADS):
                client.sendmail(_SENDER, [f"reader{key}@example.com"], message)

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(send, range(_THREADS)))


def _source(postfix: Postfix, port: int, count: int, connections: int) -> None:
    words = ["-m", str(count), "-s", str(connections), "-l", str(_SIZE_BYTES), "-d"]
    words += ["-f", _SENDER, "-t", "reader@example.com", f"127.0.0.1:{port}"]
    subprocess.run([postfix.source, *words], check=True, env=postfix.environment)  # noqa: S603 - a program of the system, no shell


if __name__ == "__main__":
    main()
