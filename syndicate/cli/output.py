"""How commands speak: results on stdout, messages and progress on stderr. Knows no command."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from syndicate.errors import UsageError

__all__ = ["Output"]


@dataclass(frozen=True)
class Output:
    """Where and how much a command says."""

    as_json: bool
    quiet: bool

    def result(self, value: Any, show: Callable[[], None]) -> None:
        """The command's result: one JSON document with --json, otherwise what ``show`` prints."""
        if self.as_json:
            print(json.dumps(_plain(value), indent=2, ensure_ascii=False))  # noqa: T201 - stdout is the contract
        else:
            show()

    def say(self, text: str) -> None:
        """A message to the person at the terminal, or nothing with --quiet."""
        if not self.quiet:
            self._stderr.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A message that even --quiet shows."""
        self._stderr.print(text, markup=False, highlight=False, soft_wrap=True, style="yellow")

    def line(self, text: str = "") -> None:
        """A line of the result."""
        self._stdout.print(text, markup=False, highlight=False, soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows of the result; numbers stand at the right. Wide enough to be read by a program, too."""
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for n, heading in enumerate(headings):
            is_number = bool(rows) and all(isinstance(row[n], int) for row in rows)
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        self._stdout.print(table)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, nothing elsewhere; gives the function that moves it on."""
        console = self._stderr
        if self.quiet or not console.is_terminal:
            yield lambda _count: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(label, total=total)
            yield lambda count: progress.advance(task, count)

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Asks, unless --yes was given. Raises UsageError where nobody is there to answer."""
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError(f"{question} Add --yes to say so in a script.")
        return self._stderr.input(f"{question} [y/N] ", markup=False).strip().lower() in {"y", "yes"}

    @property
    def _stdout(self) -> Console:
        return _console(sys.stdout)

    @property
    def _stderr(self) -> Console:
        return _console(sys.stderr)


def _console(stream: Any) -> Console:
    console = Console(file=stream, highlight=False)
    # A pipe has no width; the default of 80 columns would cut what a program is to read.
    return console if console.is_terminal else Console(file=stream, highlight=False, width=240)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value).replace("[", r"\[")


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of value
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case dict():
            return {str(_plain(k)): _plain(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(v) for v in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _:
            return value
