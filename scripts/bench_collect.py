"""Prints what collecting costs, beside what else could be taken for it, measured in the same run.

    make bench-collect
    python -m scripts.bench_collect [--quick | --full] [--only STEP ...] [--json FILE] [--strict]

The feeds come from a server of our own on loopback, in a process of its own, the same for everybody. Trust
processor time and ratios: the clock on the wall of a machine that has other work tells little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.bench_collect_run import Bench, Scale
from scripts.bench_collect_steps import STEPS
from scripts.bench_table import facts, table, tell, write_figures
from scripts.bench_tools import Missing, find_environment

READER = ("reader==3.26", "sgmllib3k==1.0.0")  # the feedparser within reader needs the second
QUICK = Scale(rounds=1, cold=10, same=20, theirs=5, parsed=5, many=100)
USUAL = Scale(rounds=3, cold=300, same=2_000, theirs=200, parsed=20, many=10_000)
FULL = Scale(rounds=5, cold=1_000, same=5_000, theirs=400, parsed=50, many=10_000)
MANNERS = (
    "All feeds are of one host here, which allows 50 connections and needs no pauses: "
    "politeness is what the simulated day looks at."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives the exit code."""
    asked = _parser().parse_args(words)
    scale = QUICK if asked.quick else FULL if asked.full else USUAL
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="syndicate-bench-", dir=asked.folder) as name:
        folder = Path(name)
        machine = facts(folder)
        print("; ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
        print(MANNERS, flush=True)
        bench = Bench(scale=scale, folder=folder, reader=_find_reader(may_fetch=not asked.no_install))
        try:
            for step in asked.only or STEPS:
                STEPS[step](bench)
        finally:  # what was found before a step failed, or was interrupted
            print(table(bench.figures))
    print("Feeds a second are noise where other work is done.")
    if asked.json:
        write_figures(asked.json, machine, bench.figures)
    return int(asked.strict and any(figure.is_met is False for figure in bench.figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench_collect", description="Print what collecting costs.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="in a minute, to see that it works")
    size.add_argument("--full", action="store_true", help="with more feeds and rounds, in an hour")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a goal is missed")
    parser.add_argument("--no-install", action="store_true", help="leave reader out if it is not here")
    parser.add_argument("--folder", type=Path, help="where databases are made; the system's for such files")
    return parser


def _find_reader(*, may_fetch: bool) -> str | None:
    """The Python that has reader; says so if there is none."""
    try:
        return find_environment("reader", READER, "reader._vendor.feedparser", may_fetch=may_fetch)
    except Missing as missing:
        tell(f"without reader: {missing}")
        return None


if __name__ == "__main__":
    sys.exit(main())
