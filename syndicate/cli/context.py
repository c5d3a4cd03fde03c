"""What the global options say, and the way from a command to its installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from syndicate.cli.output import Output

if TYPE_CHECKING:
    from syndicate.service.installation import Installation

__all__ = ["Globals", "command_group", "globals_of", "installation"]


@dataclass(frozen=True)
class Globals:
    """The options that stand before the command."""

    config: Path | None
    output: Output
    verbose: bool


def globals_of(ctx: typer.Context) -> Globals:
    """The global options of this call."""
    return cast("Globals", ctx.find_root().obj)


@contextmanager
def installation(ctx: typer.Context) -> Iterator[tuple[Installation, Output]]:
    """Opens the installation that --config names, for the time of a command."""
    from syndicate.service.installation import open_installation

    given = globals_of(ctx)
    with open_installation(given.config) as inst:
        yield inst, given.output


def command_group(description: str) -> typer.Typer:
    """A group of commands about one noun."""
    options: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}
    return typer.Typer(help=description, **options)
