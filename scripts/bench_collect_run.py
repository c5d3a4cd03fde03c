"""One run of the figures of collecting: its scale, what it works with, and the lines that it finds.

Knows no step: those are in ``bench_collect_steps``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from scripts.bench_collect_world import make_sources
from scripts.bench_feed_server import Feeds
from scripts.bench_processes import Peak
from scripts.bench_table import Figure, Result, result_of

LATER_H = 7  #: between two looks: every source is due again, and no week is over

Measure = Callable[[], Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    rounds: int
    cold: int  #: feeds
    same: int
    theirs: int  #: feeds that reader reads, who takes a hundred times longer
    parsed: int  #: times that a document is parsed in each round
    many: int  #: sources whose memory is looked at, and that live a day


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a run works with, and what it has found."""

    scale: Scale
    folder: Path
    reader: str | None  #: the Python that has reader
    figures: list[Figure] = field(default_factory=list)
    _names: count[int] = field(default_factory=count)
    _hours: count[int] = field(default_factory=lambda: count(LATER_H, LATER_H))

    def new_path(self) -> Path:
        """A place where nothing is."""
        return self.folder / f"work-{next(self._names)}"

    def ours(self, step: str, *more: object, watch: Peak | None = None) -> Result:
        """One step of Syndicate's in a process of its own."""
        words = [sys.executable, "-m", "scripts.bench_collect_ours", step, *more]
        return result_of(words, watch=watch) if watch else result_of(words)

    def peer(self, name: str, *more: object) -> Result:
        """One step of a peer's in a process of its own."""
        python = self.reader if name == "reader" else sys.executable
        return result_of([python, Path(__file__).parent / "bench_collect_peers.py", name, *more])

    def prepare(self, site: Feeds) -> Path:
        """The folder of an installation that has every feed for a source and has read none."""
        folder = self.new_path()
        make_sources(folder, site.port, site.feeds)
        return folder

    def collect(
        self, site: Feeds, folder: Path, *, peak: Peak | None = None, is_first: bool = False
    ) -> Result:
        """Has all sources read."""
        hours = 0 if is_first else next(self._hours)
        compared = min(self.scale.theirs, site.feeds)
        return self.ours("collect", folder, site.feeds, site.entries, hours, compared, watch=peak)

    def collect_first(self, site: Feeds, blank: Path) -> Result:
        """The same in a copy of an installation that has read none."""
        folder = self.new_path()
        shutil.copytree(blank, folder)
        try:
            return asking(site, site.feeds, "full", lambda: self.collect(site, folder, is_first=True))
        finally:
            shutil.rmtree(folder)

    def read(self, site: Feeds, database: Path, workers: int) -> Result:
        """Has reader read as many as it is given."""
        return self.peer("reader", database, site.port, self.scale.theirs, site.entries, workers)

    def read_first(self, site: Feeds, workers: int) -> Result:
        """The same with a new database."""
        database = self.new_path().with_suffix(".db")
        try:
            return asking(site, self.scale.theirs, "full", lambda: self.read(site, database, workers))
        finally:
            for file in self.folder.glob(f"{database.name}*"):
                file.unlink()


def asking(site: Feeds, feeds: int, answer: str, measure: Measure) -> Result:
    """Ends the benchmark unless the server was asked for each feed once and gave this answer."""
    site.reset(knows_validators=answer == "unchanged")
    result = measure()
    counts = site.reset(knows_validators=True)
    if counts != {"full": 0, "unchanged": 0, "unknown": 0} | {answer: feeds}:
        sys.exit(f"the server should have answered '{answer}' {feeds} times: {counts}")
    return result
