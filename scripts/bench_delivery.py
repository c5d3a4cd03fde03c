"""Prints what delivering costs, beside what else could be taken for it, measured in the same run.

    make bench-delivery
    python -m scripts.bench_delivery [--quick | --full] [--only STEP ...] [--json FILE] [--strict]

The relay is Postfix's smtp-sink, in a process of its own. Trust processor time and ratios: the clock on the
wall of a machine that has other work tells little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.bench_run import Bench, Scale
from scripts.bench_steps import STEPS
from scripts.bench_table import facts, table, tell, write_figures
from scripts.bench_tools import Missing, Postfix, find_peers, find_postfix, running_sink, silence

BOTH = ("sqlite", "postgresql")
QUICK = Scale(
    rounds=1, messages=200, slow_messages=20, sizes=(200, 400, 800), opened=2_000, databases=("sqlite",)
)
USUAL = Scale(
    rounds=3,
    messages=6_000,
    slow_messages=200,
    sizes=(10_000, 50_000, 200_000),
    opened=1_000_000,
    databases=BOTH,
)
FULL = Scale(
    rounds=3,
    messages=6_000,
    slow_messages=200,
    sizes=(10_000, 100_000, 1_000_000),
    opened=1_000_000,
    databases=BOTH,
)


def main(words: Sequence[str] | None = None) -> int:
    """Measures, prints, and gives the exit code."""
    asked = _parser().parse_args(words)
    silence()
    scale = QUICK if asked.quick else FULL if asked.full else USUAL
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="syndicate-bench-", dir=asked.folder))
        )
        machine = facts(folder)
        print("; ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
        if machine["file system"] == "tmpfs":
            print("that is memory and no disk: name another folder by --folder for the true cost of commits")
        bench = _bench(stack, scale, folder, may_fetch=not asked.no_install)
        try:
            for name in asked.only or STEPS:
                STEPS[name](bench)
        finally:  # what was found before a step failed, or was interrupted
            print(table(bench.figures))
    print("Messages a second, and seconds that are not of the processor, are noise where other work is done.")
    if asked.json:
        write_figures(asked.json, machine, bench.figures)
    return int(asked.strict and any(figure.is_met is False for figure in bench.figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench_delivery", description="Print what delivering costs.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="in half a minute, to see that it works")
    size.add_argument("--full", action="store_true", help="with a million readers, in an hour")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a goal is missed")
    parser.add_argument("--no-install", action="store_true", help="leave peers out that are not here")
    parser.add_argument("--folder", type=Path, help="where databases are made; the system's for such files")
    return parser


def _bench(stack: ExitStack, scale: Scale, folder: Path, *, may_fetch: bool) -> Bench:
    """What the steps work with; says what is missing."""
    postfix: Postfix | None = None
    peers, port = None, 0
    try:
        postfix = find_postfix(may_fetch=may_fetch)
        port = stack.enter_context(running_sink(postfix))
    except Missing as missing:
        tell(f"nothing is sent: {missing}")
    try:
        peers = find_peers(may_fetch=may_fetch)
    except Missing as missing:
        tell(f"without aiosmtplib and dkimpy: {missing}")
    return Bench(scale=scale, folder=folder, postfix=postfix, port=port, peers=peers)


if __name__ == "__main__":
    sys.exit(main())
