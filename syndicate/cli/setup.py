"""Commands that make an installation: init, migrate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import globals_of
from syndicate.cli.output import Output, counted

if TYPE_CHECKING:
    from syndicate.service.setup import Initialised

__all__ = ["init", "migrate"]


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to; this folder if left out.", show_default=False),
    ] = Path(),
    title: Annotated[
        str | None, typer.Option(metavar="TITLE", help="Name of the site and its first newsletter.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Public address, such as https://news.example.org.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL-or-FOLDER", help="Draw the newsletter from this source."),
    ] = None,
) -> None:
    """Make a folder ready to run.

    It gets a configuration, a secret, a database and a first newsletter.

    \b
    syndicate init letters --title "Coastal Letters" --from https://blog.example.org
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.setup import initialise

    output = globals_of(ctx).output
    made = initialise(folder, title=title, url=url, source=source)
    output.result(made, lambda: _show(output, folder, made))
    for problem in made.report.problems if made.report is not None else ():
        output.warn(problem)


def migrate(ctx: typer.Context) -> None:
    """Bring the database to this version's schema.

    Makes the database if there is none.
    """
    from syndicate.service.setup import migrate_database

    given = globals_of(ctx)
    changed = migrate_database(given.config)
    text = "The database has this version's schema now." if changed else "The database was up to date."
    given.output.result({"changed": changed}, lambda: given.output.line(text))


def _show(output: Output, folder: Path, made: Initialised) -> None:
    output.line(f"Made {folder / 'syndicate.toml'} with the newsletter '{made.newsletter.slug}'.")
    if made.report is not None:
        held = counted(made.report.new + made.report.baseline, "article")
        output.line(
            f"Collected {held} from {made.report.location}; "
            f"the first edition brings the latest {made.report.new}."
        )
    output.line()
    output.line("Next:")
    steps = list(_next_steps(folder, made))
    width = max(len(command) for command, _ in steps)
    for command, why in steps:
        output.line(f"  {command:{width}}  {why}".rstrip())


def _next_steps(folder: Path, made: Initialised) -> Iterator[tuple[str, str]]:
    slug = made.newsletter.slug
    if folder != Path():
        yield f"cd {folder}", ""
    if made.report is None:
        yield "syndicate source add URL-or-FOLDER", "what the newsletter draws from"
    yield f"syndicate preview {slug} --out digest.html", "how its mail looks"
    yield "edit syndicate.toml", "[site] url, and in [smtp] the relay that takes your mail"
    yield f"syndicate newsletter edit {slug} --from-email YOU@YOUR.DOMAIN", "who the mail is from"
    yield f"syndicate send {slug} --to YOU@YOUR.DOMAIN", "a test to yourself"
    yield "syndicate subscriber import FILE.csv", "tells what it would do; --apply does it"
    yield f"syndicate send {slug}", "asks before it sends"
    yield "syndicate serve", "feeds, archive and forms; collects and sends by schedule"
