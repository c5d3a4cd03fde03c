"""How commands speak: results on stdout, messages and progress on stderr. Knows no command."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum
from pathlib import Path
from typing import Any, Final, TextIO

import typer

from syndicate.errors import OperationError, UsageError

__all__ = ["Output", "counted"]

#: What could move the cursor or rename the window of a terminal: titles and replies come from strangers.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Output:
    """Where and how much a command says."""

    as_json: bool
    quiet: bool
    zone: tzinfo = UTC  #: in which people read times; JSON has UTC

    def result(self, value: Any, show: Callable[[], None]) -> None:
        """The command's result: one JSON document with --json, otherwise what ``show`` prints."""
        if self.as_json:
            typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))
        else:
            show()

    def say(self, text: str) -> None:
        """A message to the person at the terminal, or nothing with --quiet."""
        if not self.quiet:
            typer.echo(_harmless(text), err=True)

    def warn(self, text: str) -> None:
        """A message that even --quiet shows."""
        typer.secho(_harmless(text), err=True, fg="yellow")

    def line(self, text: str = "") -> None:
        """A line of the result."""
        typer.echo(_harmless(text))

    def time(self, at: datetime) -> str:
        """An instant to the minute, with its zone."""
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M %Z}"

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows of the result; numbers stand at the right. A pipe has a line for each row, however long."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for n, heading in enumerate(headings):
            is_number = bool(rows) and all(isinstance(row[n], int) for row in rows)
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(self._cell(value)) for value in row))
        if sys.stdout.isatty():
            Console(file=sys.stdout).print(table)
            return
        console = Console(file=sys.stdout, width=10_000)
        with console.capture() as capture:
            console.print(table)
        typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, nothing elsewhere; gives the function that moves it on."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda _count: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(label, total=total)
            yield lambda count: progress.advance(task, count)

    def is_sure(self, question: str, *, yes: bool) -> bool:
        """Asks, unless --yes was given. Raises UsageError where nobody is there to answer."""
        if yes:
            return True
        if not _is_terminal(sys.stdin):
            raise UsageError(f"{question} Nobody is here to answer: add --yes if it is to be done.")
        typer.echo(_harmless(f"{question} [y/N] "), err=True, nl=False)
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def confirm(self, question: str, *, yes: bool) -> None:
        """As ``is_sure``, for what there is nothing else to do about: raises OperationError on a no."""
        if not self.is_sure(question, yes=yes):
            raise OperationError("nothing was done, as you said")

    def _cell(self, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, datetime):
            return self.time(value)
        return _harmless(str(value)).replace("\n", " ").replace("\t", " ")


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 reader" or "2 readers"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _harmless(text: str) -> str:
    return _CONTROL.sub("�", text)


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
