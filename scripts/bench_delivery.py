"""Prints what delivering costs, beside what else could be taken for it, measured in the same run.

    make bench-delivery
    python -m scripts.bench_delivery [--quick | --full] [--only STEP ...] [--json FILE] [--strict]

The relay is Postfix's smtp-sink, in a process of its own. Trust processor time and ratios: the clock on the
wall of a machine that has other work tells little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from scripts.bench_run import Bench, Figure, Scale, tell
from scripts.bench_steps import STEPS
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
        figures = [asdict(figure) | {"ratio": figure.ratio} for figure in bench.figures]
        document = json.dumps({"machine": machine, "figures": figures}, indent=2, ensure_ascii=False)
        asked.json.write_text(document + "\n", "utf-8")
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


def facts(folder: Path) -> dict[str, str]:
    """What the figures were taken on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    kinds = dict(mounts)
    here = folder.resolve()
    return {
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "kernel": platform.release(),
        "file system": next((kinds[str(at)] for at in (here, *here.parents) if str(at) in kinds), "unknown"),
    }


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines of text."""
    rows = [("figure", "", "ours", "beside", "theirs", "ratio", "goal", "")]
    rows += [
        (
            figure.name,
            figure.unit,
            _number(figure.ours),
            figure.peer,
            _number(figure.theirs),
            _number(figure.ratio),
            figure.goal,
            {True: "ok", False: "missed", None: ""}[figure.is_met],
        )
        for figure in figures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in _NUMBERS else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


_NUMBERS = frozenset({2, 4, 5})


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
