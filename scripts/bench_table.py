"""What every benchmark prints: figures beside those of others, as a table, with the machine they are of.

Measures nothing by itself: it runs contestants, each in a process of its own, in turns.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

#: What a contestant's process says of itself, by name.
Result = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    goal: str = ""  #: empty: for information
    is_met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Ours in parts of theirs."""
        return self.ours / self.theirs if self.theirs else None


def make_figure(
    name: str,
    unit: str,
    ours: float,
    peer: str = "",
    theirs: float | None = None,
    *,
    goal: str = "",
    is_met: bool = True,
) -> Figure:
    """A line; ``is_met`` counts where there is a goal."""
    verdict = is_met if goal else None
    return Figure(name=name, unit=unit, ours=ours, peer=peer, theirs=theirs, goal=goal, is_met=verdict)


def at_most(most: float, name: str, unit: str, ours: float, peer: str, theirs: float) -> Figure:
    """A line whose goal is a number."""
    return make_figure(name, unit, ours, peer, theirs, goal=f"{most} {unit} or less", is_met=ours <= most)


def tell(line: str) -> None:
    """A line of progress."""
    print(f"  {line}", file=sys.stderr, flush=True)


def medians(rounds: int, contestants: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
    """What the contestants, who take turns, say of themselves."""
    found: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(1, rounds + 1):
        for name, measure in contestants.items():
            tell(f"round {number} of {rounds}: {name}")
            found[name].append(measure())
    return {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}


def result_of(
    words: Sequence[object], *, watch: Callable[[subprocess.Popen[str]], None] = lambda _process: None
) -> Result:
    """What a program of ours says on its last line; ``watch`` sees it run. Ends the benchmark if it fails."""
    process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    watch(process)
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(map(str, words[1:4]))} failed:\n{(err or out).strip()[-2_000:]}")
    found: Result = json.loads(out.splitlines()[-1])
    return found


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


def write_figures(file: Path, machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """The figures as JSON."""
    rows = [asdict(figure) | {"ratio": figure.ratio} for figure in figures]
    document = json.dumps({"machine": machine, "figures": rows}, indent=2, ensure_ascii=False)
    file.write_text(document + "\n", "utf-8")
