"""Commands that make an installation: init, migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syndicate.cli.context import globals_of

__all__ = ["init", "migrate"]


def init(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to; this folder if left out.")
    ] = Path(),
    title: Annotated[str | None, typer.Option(help="Name of the site and its first newsletter.")] = None,
    url: Annotated[str | None, typer.Option(help="Public address, such as https://news.example.org.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL-or-FOLDER", help="Draw the newsletter from this source."),
    ] = None,
) -> None:
    """Make a folder ready to run: configuration, secret, database and a first newsletter."""
    from syndicate.service.setup import initialise

    output = globals_of(ctx).output
    made = initialise(folder, title=title, url=url, source=source)

    def show() -> None:
        output.line(f"Made {folder / 'syndicate.toml'} with the newsletter '{made.newsletter.slug}'.")
        if made.report is not None:
            held = made.report.new + made.report.baseline
            output.line(
                f"Collected {held} articles from {made.report.location}; "
                f"the latest {made.report.new} are for the first edition."
            )
            for problem in made.report.problems:
                output.warn(f"  {problem}")
        output.line()
        output.line("Next:")
        if folder != Path():
            output.line(f"  cd {folder}")
        output.line("  set [site] url and [smtp] in syndicate.toml")
        output.line(f"  syndicate newsletter edit {made.newsletter.slug} --from-email YOU@YOUR.DOMAIN")
        if made.report is None:
            output.line("  syndicate source add URL-or-FOLDER        what the newsletter draws from")
        output.line("  syndicate subscriber import FILE.csv --apply")
        output.line(f"  syndicate send {made.newsletter.slug} --dry-run        then without --dry-run")
        output.line("  syndicate serve                           feeds, archive, forms, schedule")

    output.result(made, show)


def migrate(ctx: typer.Context) -> None:
    """Bring the database to this version's schema; makes it if need be."""
    from syndicate.service.setup import migrate_database

    given = globals_of(ctx)
    changed = migrate_database(given.config)
    text = "The database has this version's schema now." if changed else "The database was up to date."
    given.output.result({"changed": changed}, lambda: given.output.line(text))
