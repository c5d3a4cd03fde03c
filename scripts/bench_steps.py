"""The steps of the figures of delivery: what is measured, beside whom, and which goal it has.

Each step takes a Bench and leaves its lines there. Processor time is that of the process that does the work.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median

from scripts import bench_opening
from scripts.bench_run import CONNECTIONS, Bench
from scripts.bench_table import Figure, Result, at_most, make_figure, tell
from scripts.bench_tools import run_source, silence
from scripts.bench_world import KEY_FILE

WINDOWS = (CONNECTIONS, 200)  # what is set where nothing is said, and a wide one
COMPOSED_US = 10
SIGNED_US = 350
SCALES_BY = 0.8  #: of what as many cores could do at best
CHOICES_RATIO = 1.5
GROWTH_RATIO = 1.1
PEAK_MIB = 150
A_MILLION = 1_000_000
OPENED_S = {"sqlite": 5, "postgresql": 10}  #: for a million

Measure = Callable[[], Result]


def measure_sending(bench: Bench) -> None:
    """An edition to the sink, of the same articles for all and of others for each; and as much by others."""
    if bench.postfix is None:
        return
    count = bench.scale.messages
    same, each = bench.world(count), bench.world(count, is_individual=True)
    message = bench.message(same)
    lines = bench.folder / "message.txt"
    lines.write_bytes(message.read_bytes().replace(b"\r\n", b"\n"))  # smtp-source ends them by itself
    tell(f"{count:,} messages of {message.stat().st_size:,} bytes")
    ours: dict[str, Measure] = {}
    for window in WINDOWS:
        ours[f"sending, window {window}"] = partial(bench.send, same, window=window)
        ours[f"sending other articles to each, window {window}"] = partial(bench.send, each, window=window)
    fewer = max(count // 3, CONNECTIONS)
    peers: dict[str, Measure] = {
        "smtp-source": partial(run_source, bench.postfix, bench.port, count, CONNECTIONS, lines),
        "smtplib": partial(bench.peer, "smtplib", bench.port, fewer, CONNECTIONS, message),
    }
    if bench.peers:
        peers["aiosmtplib"] = partial(bench.peer, "aiosmtplib", bench.port, fewer, CONNECTIONS, message)
    found = bench.medians(ours | peers)
    for window in WINDOWS:
        name, other = f"sending, window {window}", f"sending other articles to each, window {window}"
        bench.figures += _beside_peers(name, found[name], {peer: found[peer] for peer in peers})
        other_us, same_us = found[other]["cpu_us"], found[name]["cpu_us"]
        bench.figures.append(_times(CHOICES_RATIO, other, "µs", other_us, "the same to all", same_us))
    start_ms = median(found[name]["start_ms"] for name in ours)
    bench.figures.append(make_figure("starting, counted nowhere else", "ms", start_ms))


def _beside_peers(name: str, ours: Result, peers: Mapping[str, Result]) -> list[Figure]:
    source = peers["smtp-source"]
    figures = [
        make_figure(
            name,
            "µs",
            ours["cpu_us"],
            peer,
            theirs["cpu_us"],
            goal="at most theirs" if theirs is source else "",
            is_met=ours["cpu_us"] <= theirs["cpu_us"],
        )
        for peer, theirs in peers.items()
    ]
    rates = ours["messages_s"], source["messages_s"]
    is_met = rates[0] >= rates[1]
    quick = make_figure(
        name, "messages/s", rates[0], "smtp-source", rates[1], goal="at least theirs", is_met=is_met
    )
    return [*figures, quick]


def measure_composing(bench: Bench) -> None:
    """Messages in memory: of articles that all share, and of others for each reader."""
    scale = bench.scale
    same, each = bench.world(scale.messages), bench.world(scale.messages, is_individual=True)
    found = bench.medians(
        {
            "composing": partial(bench.ours, "compose", same, scale.messages),
            "composing, other articles each": partial(bench.ours, "compose", each, scale.messages),
            "EmailMessage": partial(bench.peer, "emailmessage", scale.slow_messages, bench.message(same)),
        }
    )
    same_us, other_us, theirs_us = (row["cpu_us"] for row in found.values())
    bench.figures += [
        at_most(COMPOSED_US, "composing", "µs", same_us, "EmailMessage", theirs_us),
        _times(CHOICES_RATIO, "composing, other articles each", "µs", other_us, "the same for all", same_us),
    ]


def measure_signing(bench: Bench) -> None:
    """RSA-2048 signatures, on one core and on all; and an edition that is sent with them."""
    count, slow, cores = bench.scale.messages, bench.scale.slow_messages, os.cpu_count() or 1
    world = bench.world(count)
    world.configure(port=25, connections=CONNECTIONS, signs=True)
    contestants: dict[str, Measure] = {
        "signing on 1 core": partial(bench.ours, "sign", world, count, 1),
        "signing on every core": partial(bench.ours, "sign", world, count, cores),
        "RSA-2048 and no more": partial(bench.ours, "rsa", world, 5 * slow),
    }
    if bench.postfix:
        contestants["sending with signatures"] = partial(bench.send, world, signs=True)
    if bench.peers:
        key, message = world.folder / KEY_FILE, bench.message(world)
        contestants["dkimpy, signing alone"] = partial(bench.peer, "dkimpy", slow, message, key)
    found = bench.medians(contestants)
    cpu_us = {name: row["cpu_us"] for name, row in found.items()}
    name, ours_us = "composing and signing", cpu_us["signing on 1 core"]
    alone_us, theirs_us = cpu_us["RSA-2048 and no more"], cpu_us.get("dkimpy, signing alone")
    bench.figures.append(at_most(SIGNED_US, name, "µs", ours_us, "RSA-2048 and no more", alone_us))
    if theirs_us is not None:
        bench.figures.append(make_figure(name, "µs", ours_us, "dkimpy, signing alone", theirs_us))
    if cores > 1:
        every, one = (found[f"signing on {on}"]["messages_s"] for on in ("every core", "1 core"))
        goal, is_met = f"{SCALES_BY * cores:.1f} times or more", every >= SCALES_BY * cores * one
        name = f"{name}, {cores} cores"
        bench.figures.append(make_figure(name, "messages/s", every, "1 core", one, goal=goal, is_met=is_met))
    sent_us = cpu_us.get("sending with signatures")
    if sent_us is not None:
        bench.figures.append(
            make_figure("sending with signatures", "µs", sent_us, "dkimpy, signing alone", theirs_us)
        )


def measure_growth(bench: Bench) -> None:
    """Growing editions, each sent to the last reader; the smallest again after each of the others, since the
    machine changes meanwhile.
    """
    if bench.postfix is None:
        return
    small, middle, large = bench.scale.sizes
    found: dict[int, list[Result]] = {size: [] for size in bench.scale.sizes}
    for size in (small, middle, small, large, small):
        world = bench.world(size)
        tell(f"sending to {size:,} readers")
        found[size].append(bench.send(world))
    cost_us = {size: median(row["cpu_us"] for row in rows) for size, rows in found.items()}
    peak_mib = {size: max(row["peak_mib"] for row in rows) for size, rows in found.items()}
    name, peer = f"memory at {large:,} readers", f"at {middle:,}"
    bench.figures += [
        _times(
            GROWTH_RATIO,
            f"sending to {large:,} readers",
            "µs",
            cost_us[large],
            f"to {small:,}",
            cost_us[small],
        ),
        at_most(PEAK_MIB, name, "MiB", peak_mib[large], peer, peak_mib[middle]),
        _times(GROWTH_RATIO, name, "MiB", peak_mib[large], peer, peak_mib[middle]),
    ]


def measure_opening(bench: Bench) -> None:
    """Freezing an edition's readers, beside a bare INSERT..SELECT of as many rows."""
    readers, peer = bench.scale.opened, "bare INSERT..SELECT"
    for database in bench.scale.databases:
        tell(f"opening an edition for {readers:,} readers in {database}")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), silence) as process:
            got = process.submit(bench_opening.measure, database, readers).result()
        name = f"opening for {readers:,}, {database}"
        if readers == A_MILLION:
            bench.figures.append(at_most(OPENED_S[database], name, "s", got.wall_s, peer, got.bare_wall_s))
        bench.figures.append(make_figure(name, "s of processor", got.cpu_s, peer, got.bare_cpu_s))


def _times(ratio: float, name: str, unit: str, ours: float, peer: str, theirs: float) -> Figure:
    goal, is_met = f"{ratio} times or less", ours <= ratio * theirs
    return make_figure(name, unit, ours, peer, theirs, goal=goal, is_met=is_met)


STEPS: dict[str, Callable[[Bench], None]] = {
    "sending": measure_sending,
    "composing": measure_composing,
    "signing": measure_signing,
    "growth": measure_growth,
    "opening": measure_opening,
}
