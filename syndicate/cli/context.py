"""What the global options say, and the way from a command to its installation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from syndicate.cli.output import Output

if TYPE_CHECKING:
    from syndicate.service.installation import Installation

__all__ = ["Globals", "Yes", "command_group", "globals_of", "installation"]

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@dataclass(frozen=True)
class Globals:
    """The options that stand before or after any command."""

    config: Path | None
    output: Output
    is_verbose: bool


def globals_of(ctx: typer.Context) -> Globals:
    """The global options of this call, with the logs set up as they say."""
    from syndicate.cli.logs import configure_logs

    given = cast("Globals", ctx.find_root().obj)
    configure_logs(logging.INFO if given.is_verbose else logging.ERROR)
    return given


@contextmanager
def installation(ctx: typer.Context) -> Iterator[tuple[Installation, Output]]:
    """Opens the installation that --config names, for the time of a command; times are in its site's zone."""
    from syndicate.service.installation import open_installation

    given = globals_of(ctx)
    with open_installation(given.config) as inst:
        yield inst, replace(given.output, zone=inst.settings.time_zone)


def command_group(description: str) -> typer.Typer:
    """A group of commands about one noun."""
    options: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "add_completion": False}
    return typer.Typer(help=description, **options)
