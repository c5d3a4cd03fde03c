"""Runs the command line within the test's process, as a person at a keyboard or a script would."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer

from syndicate.cli.app import app, main

__all__ = ["Program", "Result", "all_commands", "kept_logs"]


@dataclass(frozen=True)
class Result:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Program:
    """The program, called in one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *args: str) -> Result:
        """Calls it, whatever comes of it."""
        self._capsys.readouterr()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with pytest.raises(SystemExit) as ended:
                main(args)
        finally:
            os.chdir(before)
        captured = self._capsys.readouterr()
        return Result(code=int(ended.value.code or 0), out=captured.out, err=captured.err)

    def done(self, *args: str) -> Result:
        """Calls it and insists that it works."""
        result = self(*args)
        assert result.code == 0, (args, result)
        return result


@contextmanager
def kept_logs() -> Iterator[None]:
    """Puts the logs back as they were: the program points them at a stream that ends with its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def all_commands() -> dict[str, Any]:
    """Every command by its words, such as ``source add``."""
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in root.commands.items():
        children = getattr(command, "commands", None)
        found |= {f"{name} {n}": c for n, c in children.items()} if children else {name: command}
    return found


def words_of(args: Sequence[str]) -> str:
    """The words of the command that is called."""
    return next(
        words for words in sorted(all_commands(), key=len, reverse=True) if " ".join(args).startswith(words)
    )
