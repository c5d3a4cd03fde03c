"""What others take for the same work: one peer in a process of its own, as JSON on a line.

    python scripts/bench_peers.py smtplib PORT MESSAGES CONNECTIONS MESSAGE_FILE
    python scripts/bench_peers.py aiosmtplib PORT MESSAGES CONNECTIONS MESSAGE_FILE
    python scripts/bench_peers.py emailmessage MESSAGES MESSAGE_FILE
    python scripts/bench_peers.py dkimpy MESSAGES MESSAGE_FILE KEY_FILE

Knows nothing of Syndicate: it runs in an environment that holds the peers and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

SENDER = "letters@example.org"
HOST = "127.0.0.1"
THREADS = 8  # as many as help smtplib


def cost(work: Callable[[], object], messages: int) -> dict[str, float]:
    """Processor time of one message in microseconds, and messages a second."""
    began_s, used_s = time.perf_counter(), time.process_time()
    work()
    used_s = time.process_time() - used_s
    return {"cpu_us": used_s / messages * 1e6, "messages_s": messages / (time.perf_counter() - began_s)}


def use_smtplib(port: str, messages: str, _connections: str, file: str) -> dict[str, float]:
    """The standard library's client, in threads, with one constant message."""
    content, count = Path(file).read_bytes(), int(messages)

    def send(thread: int) -> None:
        with smtplib.SMTP(HOST, int(port), local_hostname="bench.example.org") as client:
            for n in range(thread, count, THREADS):
                client.sendmail(SENDER, [f"reader{n}@example.com"], content)

    with ThreadPoolExecutor(THREADS) as threads:
        return cost(lambda: list(threads.map(send, range(THREADS))), count)


def use_aiosmtplib(port: str, messages: str, connections: str, file: str) -> dict[str, float]:
    """The library aiosmtplib over as many connections, with one constant message."""
    import aiosmtplib  # noqa: PLC0415 - not there for the other peers

    content, count, many = Path(file).read_bytes(), int(messages), int(connections)

    async def send(connection: int) -> None:
        async with aiosmtplib.SMTP(
            hostname=HOST, port=int(port), local_hostname="bench.example.org", start_tls=False
        ) as client:
            for n in range(connection, count, many):
                await client.sendmail(SENDER, [f"reader{n}@example.com"], content)

    async def send_all() -> None:
        await asyncio.gather(*map(send, range(many)))

    return cost(lambda: asyncio.run(send_all()), count)


def use_emailmessage(messages: str, file: str) -> dict[str, float]:
    """The standard library's EmailMessage, made anew for each reader out of the same texts."""
    given = message_from_bytes(Path(file).read_bytes(), policy=policy.SMTP)
    own = {"to", "content-type", "mime-version", "content-transfer-encoding"}
    shared = [(name, str(value)) for name, value in given.items() if name.lower() not in own]
    parts = [given.get_body((kind,)) for kind in ("plain", "html")]
    text, html = (part.get_content() for part in parts if part is not None)

    def compose(n: int) -> bytes:
        message = EmailMessage(policy=policy.SMTP)
        message["To"] = f"reader{n}@example.com"
        for name, value in shared:
            message[name] = value
        message.set_content(text, cte="quoted-printable")
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        return message.as_bytes()

    return cost(lambda: [len(compose(n)) for n in range(int(messages))], int(messages))


def use_dkimpy(messages: str, file: str, key_file: str) -> dict[str, float]:
    """The signature of dkimpy by an RSA key, of one constant message."""
    import dkim  # noqa: PLC0415 - not there for the other peers

    content, key = Path(file).read_bytes(), Path(key_file).read_bytes()

    def sign() -> bytes:
        signature: bytes = dkim.sign(
            content, b"bench", b"example.org", key, canonicalize=(b"relaxed", b"simple")
        )
        return signature

    return cost(lambda: [len(sign()) for _ in range(int(messages))], int(messages))


PEERS: dict[str, Callable[..., dict[str, float]]] = {
    "smtplib": use_smtplib,
    "aiosmtplib": use_aiosmtplib,
    "emailmessage": use_emailmessage,
    "dkimpy": use_dkimpy,
}

if __name__ == "__main__":
    print(json.dumps(PEERS[sys.argv[1]](*sys.argv[2:])))
