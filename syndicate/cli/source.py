"""Commands about sources."""

from __future__ import annotations

from typing import Annotated

import typer

from syndicate.cli.context import command_group, installation
from syndicate.model import SourceKind, SourceState

__all__ = ["app"]

app = command_group("Where articles come from: feeds and folders.")

SourceId = Annotated[int, typer.Argument(metavar="ID", help="Its number in 'source list'.")]


@app.command()
def add(
    ctx: typer.Context,
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="A URL or a folder.")],
    kind: Annotated[SourceKind | None, typer.Option(help="Found out by looking if left out.")] = None,
    newsletter: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Needed if there are several.")
    ] = None,
    backfill: Annotated[
        str, typer.Option(metavar="none|all|N", help="How many of the articles it holds already to mail.")
    ] = "none",
) -> None:
    """Add a source to a newsletter. What it holds already is shown but not mailed, unless --backfill."""
    from syndicate.service.sources import add_source

    with installation(ctx) as (inst, output):
        added = add_source(inst, location, kind=kind, newsletter_slug=newsletter, backfill=backfill)
        source = added.source
        known = "" if added.is_new else " (known already; from now on also for this newsletter)"
        output.result(
            added,
            lambda: output.line(
                f"Source {source.id}: {source.kind} at {source.location} for '{added.newsletter_slug}'{known}.\n"
                "'syndicate collect' reads it now; 'serve' does so by itself."
            ),
        )


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every source and how it has been lately."""
    from syndicate.service.sources import list_sources

    with installation(ctx) as (inst, output):
        found = list_sources(inst)
        rows = [
            (
                s.id,
                s.kind,
                s.state,
                s.title,
                ", ".join(slugs),
                s.last_success_at,
                s.next_due_at if s.state is SourceState.ACTIVE else None,
                f"{s.last_error} ({s.failures} in a row)" if s.last_error else "",
                s.location,
            )
            for s, slugs in found
        ]
        headings = (
            "id",
            "kind",
            "state",
            "title",
            "newsletters",
            "last read",
            "next",
            "last error",
            "location",
        )
        output.result(
            [{"source": s, "newsletters": slugs} for s, slugs in found],
            lambda: (
                output.table(headings, rows)
                if rows
                else output.line("No sources yet: 'source add LOCATION'.")
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
def remove(
    ctx: typer.Context,
    source_id: SourceId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a source with its articles; mails that were sent stay as they are."""
    from syndicate.service.sources import list_sources, remove_source

    with installation(ctx) as (inst, output):
        known = {s.id: s for s, _ in list_sources(inst)}
        where = known[source_id].location if source_id in known else source_id
        if not output.confirm(f"Delete source {source_id} ({where}) and all of its articles?", yes=yes):
            raise typer.Exit(1)
        removed = remove_source(inst, source_id)
        output.result(removed, lambda: output.line(f"Deleted source {source_id} ({removed.location})."))


def _set(ctx: typer.Context, source_id: int, state: SourceState) -> None:
    from syndicate.service.sources import set_source_state

    with installation(ctx) as (inst, output):
        source = set_source_state(inst, source_id, state)
        output.result(
            source, lambda: output.line(f"Source {source_id} ({source.location}) is {source.state}.")
        )
