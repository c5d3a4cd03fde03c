"""Commands about sources."""

from __future__ import annotations

from typing import Annotated

import typer

from syndicate.cli.context import Yes, command_group, installation
from syndicate.model import Source, SourceKind, SourceState

__all__ = ["app"]

app = command_group("Where articles come from: feeds and folders.")

SourceId = Annotated[int, typer.Argument(metavar="ID", help="Its number in 'source list'.")]

_HEADINGS = ("id", "kind", "state", "title", "newsletters", "last read", "next", "location", "last error")


@app.command()
def add(
    ctx: typer.Context,
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION", help="A folder, or the URL of a feed or of a page that names its feed."
        ),
    ],
    kind: Annotated[SourceKind | None, typer.Option(help="Found out by looking if left out.")] = None,
    newsletter: Annotated[
        str | None, typer.Option(metavar="SLUG", help="For this newsletter; needed if there are several.")
    ] = None,
    backfill: Annotated[
        str, typer.Option(metavar="none|all|N", help="How many of the articles it holds already to mail.")
    ] = "none",
) -> None:
    """Add a source to a newsletter.

    What it holds already is shown in feeds and archive but not mailed, unless --backfill says so.

    \b
    syndicate source add https://blog.example.org
    syndicate source add ~/letters --newsletter notes --backfill 5
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.sources import add_source

    with installation(ctx) as (inst, output):
        added = add_source(inst, location, kind=kind, newsletter_slug=newsletter, backfill=backfill)
        source = added.source
        known = "" if added.is_new else " It was known; from now on it is for this newsletter, too."
        output.result(
            added,
            lambda: output.line(
                f"Added source {source.id} to '{added.newsletter_slug}': "
                f"the {source.kind} {source.location}.{known}\n"
                "'syndicate collect' reads it now; 'syndicate serve' does so by itself."
            ),
        )


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show every source and how it has been lately."""
    from syndicate.service.sources import list_sources

    with installation(ctx) as (inst, output):
        found = list_sources(inst)
        rows = [_row(source, slugs) for source, slugs in found]
        output.result(
            [{"source": s, "newsletters": slugs} for s, slugs in found],
            lambda: (
                output.table(_HEADINGS, rows)
                if rows
                else output.line("No sources yet: 'syndicate source add URL-or-FOLDER' adds one.")
            ),
        )


@app.command()
def check(ctx: typer.Context, source_id: SourceId) -> None:
    """Read one source now and say what it brought."""
    from syndicate.cli.site import collect_one

    collect_one(ctx, source_id)


@app.command()
def pause(ctx: typer.Context, source_id: SourceId) -> None:
    """Stop collecting a source until it is resumed."""
    _set(ctx, source_id, SourceState.PAUSED)


@app.command()
def resume(ctx: typer.Context, source_id: SourceId) -> None:
    """Collect a paused source again."""
    _set(ctx, source_id, SourceState.ACTIVE)


@app.command()
def remove(ctx: typer.Context, source_id: SourceId, yes: Yes = False) -> None:
    """Delete a source with its articles.

    Mails that were sent stay as they are.
    """
    from syndicate.service.sources import get_source, remove_source

    with installation(ctx) as (inst, output):
        location = get_source(inst, source_id).location
        output.confirm(f"Delete source {source_id} ({location}) and all of its articles?", yes=yes)
        removed = remove_source(inst, source_id)
        output.result(removed, lambda: output.line(f"Deleted source {source_id} ({removed.location})."))


def _row(source: Source, slugs: tuple[str, ...]) -> tuple[object, ...]:
    return (
        source.id,
        source.kind.value,
        source.state.value,
        source.title,
        ", ".join(slugs),
        source.last_success_at,
        source.next_due_at if source.state is SourceState.ACTIVE else None,
        source.location,
        # The error names the location, which has a column of its own.
        f"{source.last_error.removeprefix(f'{source.location}: ')} ({source.failures} in a row)"
        if source.last_error
        else "",
    )


def _set(ctx: typer.Context, source_id: int, state: SourceState) -> None:
    from syndicate.service.sources import set_source_state

    with installation(ctx) as (inst, output):
        source = set_source_state(inst, source_id, state)
        output.result(
            source, lambda: output.line(f"Source {source_id} ({source.location}) is {source.state}.")
        )
