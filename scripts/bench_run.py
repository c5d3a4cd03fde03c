"""One run of the figures of delivery: its scale, what it works with, and the lines that it finds.

Knows no step: those are in ``bench_steps``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench_table import Figure, Result, medians, result_of, tell
from scripts.bench_tools import Postfix
from scripts.bench_world import World, make_world

CONNECTIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    rounds: int
    messages: int  #: in each round
    slow_messages: int  #: the same where one takes a hundred times longer
    sizes: tuple[int, int, int]  #: readers of the growing editions
    opened: int  #: readers for whom an edition is opened
    databases: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a run works with, and what it has found."""

    scale: Scale
    folder: Path
    postfix: Postfix | None  #: None: nothing is sent
    port: int  #: of its sink
    peers: str | None  #: the Python that has the other senders
    figures: list[Figure] = field(default_factory=list)
    _worlds: dict[tuple[int, bool], World] = field(default_factory=dict)
    _copies: int = 0

    def world(self, readers: int, *, is_individual: bool = False) -> World:
        """An edition for that many readers, made once."""
        key = readers, is_individual
        if key not in self._worlds:
            whose = "each of other articles" if is_individual else "all of the same articles"
            tell(f"making an edition for {readers:,} readers, {whose}")
            folder = self.folder / f"readers-{readers}-{len(self._worlds)}"
            self._worlds[key] = make_world(folder, readers, is_individual=is_individual)
        return self._worlds[key]

    def message(self, world: World) -> Path:
        """A file with the message of an edition's first reader, unsigned."""
        file = world.folder / "message.eml"
        if not file.exists():
            self.ours("write", world, file)
        return file

    def ours(self, step: str, world: World, *more: object) -> Result:
        """One step of Syndicate's in a process of its own."""
        return result_of(
            [sys.executable, "-m", "scripts.bench_ours", step, world.config, world.edition_id, *more]
        )

    def peer(self, name: str, *more: object) -> Result:
        """One step of a peer's in a process of its own."""
        python = self.peers if name in {"aiosmtplib", "dkimpy"} else sys.executable
        return result_of([python, Path(__file__).parent / "bench_peers.py", name, *more])

    def send(self, world: World, *, window: int | None = None, signs: bool = False) -> Result:
        """Sends a copy of an edition to the sink."""
        self._copies += 1
        copy = world.copy_to(self.folder / f"copy-{self._copies}")
        copy.configure(port=self.port, connections=CONNECTIONS, window=window, signs=signs)
        try:
            return self.ours("send", copy)
        finally:
            copy.delete()

    def medians(self, contestants: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
        """What the contestants, who take turns, say of themselves."""
        return medians(self.scale.rounds, contestants)
