"""What Syndicate takes for its work: one step in a process of its own, as JSON on a line.

    python -m scripts.bench_ours send CONFIG EDITION                 what ``syndicate send`` does
    python -m scripts.bench_ours compose CONFIG EDITION MESSAGES     messages, as the sender makes them
    python -m scripts.bench_ours sign CONFIG EDITION MESSAGES CORES  the same and their DKIM signatures
    python -m scripts.bench_ours rsa CONFIG EDITION MESSAGES         RSA signatures and nothing else
    python -m scripts.bench_ours write CONFIG EDITION FILE           one of its messages

Counts from when imports are done and the database is open.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle, islice
from math import inf
from pathlib import Path

from scripts.bench_tools import silence
from syndicate.digest.compiled import CompiledEdition
from syndicate.model import DeliveryState
from syndicate.service.composing import Composer
from syndicate.service.installation import Installation, open_installation
from syndicate.service.sending import send_edition
from syndicate.service.signing import load_signer
from syndicate.storage import deliveries, editions, newsletters
from syndicate.storage.deliveries import ReadyDelivery
from syndicate.storage.engine import reading

WINDOW = 100  # readers for whom messages are made at once


def send(inst: Installation, edition_id: int) -> dict[str, float]:
    """Sends an edition to everybody."""
    start_us, began_s = cpu_us(), time.perf_counter()
    report = send_edition(inst, edition_id)
    used_us, seconds = cpu_us() - start_us, time.perf_counter() - began_s
    if not report.sent or report.counts[DeliveryState.SENT] != sum(report.counts.values()):
        raise SystemExit(f"not everybody was served: {dict(report.counts)}, {report.fault}")
    return {
        "cpu_us": used_us / report.sent,
        "messages_s": report.sent / seconds,
        "peak_mib": peak_mib(),
        "start_ms": start_us / 1e3,
    }


def compose(inst: Installation, edition_id: int, messages: str) -> dict[str, float]:
    """Makes messages of an edition, for its readers in turn."""
    with composing(inst, edition_id, signs=False) as (composer, rows):
        return cost(composer, rows, int(messages))


def sign(inst: Installation, edition_id: int, messages: str, cores: str) -> dict[str, float]:
    """Makes and signs them, on some of the cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    with composing(inst, edition_id, signs=True) as (composer, rows):
        return cost(composer, rows, int(messages))


def rsa(inst: Installation, _edition_id: int, messages: str) -> dict[str, float]:
    """Signs a digest again and again: what this processor takes at the least."""
    signer = load_signer(inst.settings)
    if signer is None:
        raise SystemExit("there is no key")
    start_us, began_s = cpu_us(), time.perf_counter()
    for _ in range(int(messages)):
        signer.keys[0].sign_digest(bytes(32))
    seconds = time.perf_counter() - began_s
    return {"cpu_us": (cpu_us() - start_us) / int(messages), "messages_s": int(messages) / seconds}


def write(inst: Installation, edition_id: int, file: str) -> dict[str, float]:
    """Writes the first reader's message to a file."""
    with composing(inst, edition_id, signs=False) as (composer, rows):
        [envelope], _ = composer.compose(rows[:1], inf)
    return {"bytes": Path(file).write_bytes(b"".join(envelope.pieces))}


@contextmanager
def composing(
    inst: Installation, edition_id: int, *, signs: bool
) -> Iterator[tuple[Composer, list[ReadyDelivery]]]:
    """What makes an edition's messages, and its first readers."""
    with reading(inst.engine) as conn:
        edition = editions.get_edition(conn, edition_id)
        composer = Composer(
            inst=inst,
            edition=edition,
            newsletter=newsletters.get_newsletter_by_id(conn, edition.newsletter_id),
            compiled=CompiledEdition.from_bytes(editions.get_compiled(conn, edition_id)),
            signer=load_signer(inst.settings) if signs else None,
        )
        rows = deliveries.list_ready(conn, edition_id, after=0, last=2**62, limit=10_000, now=inst.clock())
    with closing(composer):
        yield composer, rows


def cost(composer: Composer, rows: Sequence[ReadyDelivery], messages: int) -> dict[str, float]:
    """Of one message, after the first ones, with which everything shared is made."""
    turns = cycle(rows)
    composer.compose(list(islice(turns, WINDOW)), inf)
    windows = [list(islice(turns, WINDOW)) for _ in range(-(-messages // WINDOW))]
    start_us, began_s = cpu_us(), time.perf_counter()
    for window in windows:
        composer.compose(window, inf)
    count, seconds = WINDOW * len(windows), time.perf_counter() - began_s
    return {"cpu_us": (cpu_us() - start_us) / count, "messages_s": count / seconds}


def cpu_us() -> float:
    """Processor time of this process and of those that it started, in microseconds."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used) * 1e6


def peak_mib() -> float:
    """The most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says begins with the memory of the process that started this one.
        peak = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS: dict[str, Callable[..., dict[str, float]]] = {
    "send": send,
    "compose": compose,
    "sign": sign,
    "rsa": rsa,
    "write": write,
}

if __name__ == "__main__":
    silence()
    step, config, edition, *more = sys.argv[1:]
    with open_installation(Path(config)) as installation:
        print(json.dumps(STEPS[step](installation, int(edition), *more)))
