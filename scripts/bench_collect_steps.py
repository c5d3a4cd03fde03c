"""The steps of the figures of collecting: what is measured, beside whom, and which goal it has.

Each step takes a Bench and leaves its lines there. Processor time is that of everybody who does the work, the
processes that parse included.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from scripts.bench_collect_run import Bench, Measure, asking
from scripts.bench_day import list_sources, simulate_day
from scripts.bench_feed_server import running_feeds
from scripts.bench_feeds import Texts, make_feed
from scripts.bench_processes import Peak
from scripts.bench_table import Figure, Result, at_most, make_figure, medians, tell

ENTRIES, ENTRY_BYTES = 10, 5_460  # a document of 60 KB
LONG_ENTRIES = 50  # one of 295 KB
SMALL_ENTRIES, SMALL_BYTES = 2, 400
WORKERS = (1, 10)  #: of reader
COLD_FEEDS_S = 150
SAME_FEEDS_S = 2_500
PARSED_MS = 15
PEAK_MIB = 300
PLAN = 0.05  #: how far the requests of a day may be from their plan
GAP_S = 1.0


def measure_cold(bench: Bench) -> None:
    """Feeds that nobody has read: fetched, parsed, sanitised, stored."""
    with running_feeds(bench.scale.cold, entries=ENTRIES, entry_bytes=ENTRY_BYTES) as site:
        contestants: dict[str, Measure] = {"ours": partial(bench.collect_first, site, bench.prepare(site))}
        if bench.reader:
            contestants |= {_named(n): partial(bench.read_first, site, n) for n in WORKERS}
        found = medians(bench.scale.rounds, contestants)
    bench.figures += _beside_peers("cold, 10 entries of 6 KB", found, COLD_FEEDS_S)
    bench.figures.append(
        Figure(name="starting, counted nowhere else", unit="ms", ours=found["ours"]["start_ms"])
    )


def measure_same(bench: Bench) -> None:
    """Feeds that hold nothing new: by their validators, and by their bytes."""
    with running_feeds(bench.scale.same, entries=ENTRIES, entry_bytes=ENTRY_BYTES) as site:
        folder, database = bench.prepare(site), bench.new_path().with_suffix(".db")
        tell("reading all of them for the first time")
        bench.collect(site, folder, is_first=True)
        contestants: dict[str, tuple[int, Measure]] = {
            "ours": (site.feeds, partial(bench.collect, site, folder)),
            "aiohttp and no more": (site.feeds, partial(bench.peer, "aiohttp", site.port, site.feeds)),
        }
        if bench.reader:
            bench.read(site, database, WORKERS[0])
            reads = {_named(n): partial(bench.read, site, database, n) for n in WORKERS}
            contestants |= {name: (bench.scale.theirs, read) for name, read in reads.items()}
        for name, answer in (
            ("nothing new, status 304", "unchanged"),
            ("nothing new, all sent again", "full"),
        ):
            tell(name)
            asked = {
                who: partial(asking, site, feeds, answer, do) for who, (feeds, do) in contestants.items()
            }
            bench.figures += _beside_peers(name, medians(bench.scale.rounds, asked), SAME_FEEDS_S)


def measure_parsing(bench: Bench) -> None:
    """One long document: parsed and sanitised."""
    times, peers = bench.scale.parsed, ("feedparser", "feedparser-nh3")
    for kind in ("RSS", "Atom"):
        file = bench.folder / f"{kind}.xml"
        file.write_bytes(
            make_feed(Texts(), 1, entries=LONG_ENTRIES, entry_bytes=ENTRY_BYTES, is_atom=kind == "Atom")
        )
        contestants: dict[str, Measure] = {"ours": partial(bench.ours, "parse", file, times)}
        contestants |= {peer: partial(bench.peer, peer, file, max(times // 5, 1)) for peer in peers}
        found = medians(bench.scale.rounds, contestants)
        _agree(found)
        for peer in peers:
            name = f"parsing {LONG_ENTRIES} entries, {file.stat().st_size / 1e3:.0f} KB of {kind}"
            ours_ms, theirs_ms = found["ours"]["cpu_ms"], found[peer]["cpu_ms"]
            bench.figures.append(at_most(PARSED_MS, name, "ms", ours_ms, peer, theirs_ms))


def measure_memory(bench: Bench) -> None:
    """Many sources: the memory of a round that finds nothing new, and of the one before, which found all."""
    with running_feeds(bench.scale.many, entries=SMALL_ENTRIES, entry_bytes=SMALL_BYTES) as site:
        folder, first, later = bench.prepare(site), Peak(), Peak()
        tell(f"reading {site.feeds:,} small feeds for the first time")
        bench.collect(site, folder, peak=first, is_first=True)
        tell("reading them again")
        asking(site, site.feeds, "unchanged", lambda: bench.collect(site, folder, peak=later))
    name = f"memory, {site.feeds:,} sources, nothing new"
    bench.figures.append(at_most(PEAK_MIB, name, "MiB", later.mib, "all of it new", first.mib))


def measure_day(bench: Bench) -> None:
    """A day of many sources on a clock that takes no time: where politeness is looked at."""
    dice, sources = Random(1), bench.scale.many  # noqa: S311 - the same day each time
    day = simulate_day(list_sources(sources, dice), dice, gap_s=GAP_S)
    name, share = f"a day of {sources:,} sources", day.made / day.planned
    bench.figures += [
        make_figure(
            name,
            "requests",
            day.made,
            "planned",
            day.planned,
            goal=f"the plan, within {PLAN:.0%}",
            is_met=abs(share - 1) <= PLAN,
        ),
        make_figure(
            f"{name}, closest at one host",
            "s",
            day.smallest_gap_s,
            goal=f"{GAP_S:g} s or more",
            is_met=day.smallest_gap_s >= GAP_S,
        ),
        make_figure(f"{name}, after 410", "requests", day.after_gone, goal="none", is_met=not day.after_gone),
    ]


def _named(workers: int) -> str:
    return f"reader, {workers} worker{'s' if workers > 1 else ''}"


def _agree(found: Mapping[str, Result]) -> None:
    prints = {name: result["fingerprint"] for name, result in found.items() if "fingerprint" in result}
    if len(set(prints.values())) > 1:
        sys.exit(f"not everybody has the same words: {prints}")


def _beside_peers(name: str, found: Mapping[str, Result], least_s: int) -> list[Figure]:
    _agree(found)
    ours = found["ours"]
    rate_s, goal = ours["feeds_s"], f"{least_s:,} feeds/s or more"
    peers = {peer: result for peer, result in found.items() if peer != "ours"}
    if not peers:
        return [
            make_figure(name, "feeds/s", rate_s, goal=goal, is_met=rate_s >= least_s),
            make_figure(name, "ms of processor", ours["cpu_ms"]),
        ]
    rates = [
        make_figure(name, "feeds/s", rate_s, peer, theirs["feeds_s"], goal=goal, is_met=rate_s >= least_s)
        for peer, theirs in peers.items()
    ]
    costs = [
        make_figure(name, "ms of processor", ours["cpu_ms"], peer, theirs["cpu_ms"])
        for peer, theirs in peers.items()
    ]
    return [*rates, *costs]


STEPS: dict[str, Callable[[Bench], None]] = {
    "cold": measure_cold,
    "same": measure_same,
    "parsing": measure_parsing,
    "memory": measure_memory,
    "day": measure_day,
}
