"""Commands about sources."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import Yes, command_group, installation
from syndicate.cli.output import counted
from syndicate.errors import UsageError
from syndicate.model import FullText, Source, SourceKind, SourceState

if TYPE_CHECKING:
    from syndicate.cli.output import Output
    from syndicate.model import HeldArticle
    from syndicate.service.opml import ImportedFeed

__all__ = ["app"]

app = command_group("Where articles come from: feeds, sitemaps, pages, folders, and what is handed in.")

SourceId = Annotated[int, typer.Argument(metavar="ID", help="Its number in 'source list'.")]
NewsletterSlug = Annotated[
    str | None,
    typer.Option("--newsletter", metavar="SLUG", help="For this newsletter; needed if there are several."),
]
FullTextMode = Annotated[
    FullText | None,
    typer.Option(
        "--full-text", help="Take articles as the source gives them, from the linked page, or a summary."
    ),
]
Selector = Annotated[
    str | None, typer.Option(metavar="CSS", help="Which links of a page are articles, such as 'h2 a'.")
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="RULE",
        help="Such as 'exclude title /advert/', 'include category sport', 'exclude language de'; "
        "may be repeated.",
    ),
]
Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic",
        metavar="LABEL=OURS",
        help="The source's label under our name, nothing to drop it, *=OURS for every article; "
        "may be repeated.",
    ),
]
Approval = Annotated[
    bool | None, typer.Option("--approval/--no-approval", help="New articles wait until you release them.")
]
Guids = Annotated[
    list[str] | None, typer.Argument(metavar="[GUID]...", help="Only these; all that wait if left out.")
]

_HEADINGS = (
    "id",
    "kind",
    "state",
    "title",
    "newsletters",
    "every",
    "last read",
    "next",
    "held",
    "location",
    "last error",
)


@app.command()
def add(
    ctx: typer.Context,
    location: Annotated[
        str,
        typer.Argument(
            metavar="LOCATION",
            help="A folder, or the URL of a feed, a sitemap, or a page that names a feed or lists articles; "
            "push:NAME for what is handed in.",
        ),
    ],
    kind: Annotated[SourceKind | None, typer.Option(help="Found out by looking if left out.")] = None,
    newsletter: NewsletterSlug = None,
    backfill: Annotated[
        str, typer.Option(metavar="none|all|N", help="How many of the articles it holds already to mail.")
    ] = "none",
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Its own if left out.")] = None,
    full_text: FullTextMode = None,
    selector: Selector = None,
    rules: Rules = None,
    topics: Topics = None,
    approval: Approval = None,
) -> None:
    """Add a source to a newsletter.

    Its kind is found out by looking. What it holds already is shown in feeds and archive but not mailed,
    unless --backfill says so.

    \b
    syndicate source add https://blog.example.org
    syndicate source add https://news.example.org/sitemap.xml --rule 'include category science'
    syndicate source add https://example.org/notes/ --selector 'h2 a' --approval
    syndicate source add ~/letters --newsletter notes --backfill 5
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.sources import add_source, make_options

    options = make_options(
        title=title,
        full_text=full_text,
        selector=selector,
        rules=rules,
        topics=topics,
        needs_approval=approval,
    )
    if kind is None and location.startswith("push:"):
        kind = SourceKind.PUSH
    with installation(ctx) as (inst, output):
        added = add_source(
            inst, location, kind=kind, newsletter_slug=newsletter, backfill=backfill, options=options
        )
        source = added.source
        known = "" if added.is_new else " It was known; from now on it is for this newsletter, too."
        then = (
            "It takes articles from now on."
            if source.kind is SourceKind.PUSH
            else "'syndicate collect' reads it now; 'syndicate serve' does so by itself."
        )
        output.result(
            added,
            lambda: output.line(
                f"{source.location} is {added.words}.\n"
                f"Added it to '{added.newsletter_slug}' as source {source.id}.{known}\n{then}"
            ),
        )


@app.command()
def change(
    ctx: typer.Context,
    source_id: SourceId,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is called here.")] = None,
    full_text: FullTextMode = None,
    selector: Selector = None,
    rules: Rules = None,
    no_rules: Annotated[bool, typer.Option("--no-rules", help="Take every article again.")] = False,
    topics: Topics = None,
    no_topics: Annotated[bool, typer.Option("--no-topics", help="Keep the source's own labels.")] = False,
    approval: Approval = None,
) -> None:
    """Change what is taken of a source, and how.

    New rules and topics take the place of the old ones. Articles that are there stay as they are.
    """
    from syndicate.service.sources import change_source, make_options

    options = make_options(
        title=title,
        full_text=full_text,
        selector=selector,
        rules=[] if no_rules else rules,
        topics=[] if no_topics else topics,
        needs_approval=approval,
    )
    with installation(ctx) as (inst, output):
        source = change_source(inst, source_id, options)
        output.result(source, lambda: _show(output, source, 0))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show every source and how it has been lately."""
    from syndicate.service.held import count_held
    from syndicate.service.sources import list_sources

    with installation(ctx) as (inst, output):
        found, waiting = list_sources(inst), count_held(inst)
        rows = [_row(source, slugs, waiting.get(source.id, 0)) for source, slugs in found]
        output.result(
            [{"source": s, "newsletters": slugs, "held": waiting.get(s.id, 0)} for s, slugs in found],
            lambda: (
                output.table(_HEADINGS, rows)
                if rows
                else output.line("No sources yet: 'syndicate source add URL-or-FOLDER' adds one.")
            ),
        )


@app.command()
def show(ctx: typer.Context, source_id: SourceId) -> None:
    """Show everything about a source: what is taken of it, its rhythm, its health."""
    from syndicate.service.held import count_held
    from syndicate.service.sources import get_source

    with installation(ctx) as (inst, output):
        source, waiting = get_source(inst, source_id), count_held(inst).get(source_id, 0)
        output.result({"source": source, "held": waiting}, lambda: _show(output, source, waiting))


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


@app.command()
def held(
    ctx: typer.Context,
    source_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="Only of this source.")] = None,
) -> None:
    """Show the articles that wait for you.

    They came all at once, or their source is set to --approval. 'release' accepts them, 'dismiss' shows them
    without mailing them.
    """
    from syndicate.service.held import list_held

    with installation(ctx) as (inst, output):
        found = list_held(inst, source_id)
        headings = ("source", "since", "why", "title", "guid")
        rows = [(h.source_id, h.held_at, h.reason, h.article and h.article.title, h.guid) for h in found]
        output.result(
            found, lambda: output.table(headings, rows) if rows else output.line("Nothing waits for you.")
        )


@app.command()
def release(ctx: typer.Context, source_id: SourceId, guids: Guids = None) -> None:
    """Accept held articles: they are shown, and mailed like any new one."""
    from syndicate.service.held import release_held

    with installation(ctx) as (inst, output):
        settled = release_held(inst, source_id, guids or [])
        _tell_settled(output, settled, "accepted", "next editions mail them")


@app.command()
def dismiss(ctx: typer.Context, source_id: SourceId, guids: Guids = None) -> None:
    """Mark held articles as seen: they are shown, and not mailed."""
    from syndicate.service.held import dismiss_held

    with installation(ctx) as (inst, output):
        settled = dismiss_held(inst, source_id, guids or [])
        _tell_settled(output, settled, "marked as seen", "nobody is mailed")


@app.command("import")
def import_(
    ctx: typer.Context,
    location: Annotated[str, typer.Argument(metavar="FILE", help="An OPML file, or its URL.")],
    newsletter: NewsletterSlug = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    intranet: Annotated[
        bool, typer.Option("--intranet", help="The feeds may be in networks of [fetch] allow_private.")
    ] = False,
) -> None:
    """Take over the feeds of another program's list (OPML).

    Outlines around a feed become topics. Feeds that are known are not added again.
    """
    from syndicate.service.newsletters import choose_newsletter
    from syndicate.service.opml import import_opml

    with installation(ctx) as (inst, output):
        chosen = choose_newsletter(inst, newsletter)
        fates, problems = import_opml(inst, location, chosen, apply=not dry_run, is_intranet=intranet)
        output.result(
            {"feeds": fates, "problems": problems, "applied": not dry_run},
            lambda: _show_import(output, fates, is_dry=dry_run),
        )
        for problem in problems:
            output.warn(problem)


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Stdout if left out.")] = None,
) -> None:
    """Write the feeds as a list for other programs (OPML), without passwords and keys."""
    from syndicate.service.opml import export_opml

    with installation(ctx) as (inst, output):
        if file is None and output.as_json:
            raise UsageError("source export writes OPML to stdout; with --json, name a FILE")
        document = export_opml(inst)
        if file is None:
            typer.echo(document.decode(), nl=False)
            return
        file.write_bytes(document)
        output.result({"file": file, "bytes": len(document)}, lambda: output.line(f"{file} is written."))


def _show_import(output: Output, fates: Sequence[ImportedFeed], *, is_dry: bool) -> None:
    headings = ("", "title", "topic", "feed")
    rows = [(f.fate.value, f.feed.title, ", ".join(f.feed.topics), f.feed.xml_url) for f in fates]
    if rows:
        output.table(headings, rows)
    added = sum(f.fate.value != "known" for f in fates)
    output.line(f"{counted(added, 'feed')} {'would be added' if is_dry else 'added'}.")


def _tell_settled(output: Output, settled: Sequence[HeldArticle], verb: str, then: str) -> None:
    text = (
        f"{counted(len(settled), 'article')} {verb}; {then}." if settled else "Nothing waits for you there."
    )
    output.result(settled, lambda: output.line(text))


def _show(output: Output, source: Source, waiting: int) -> None:
    for name, value in _facts(output, source, waiting):
        if value:
            output.line(f"{name:<12}{output.time(value) if isinstance(value, datetime) else value}")


def _facts(output: Output, source: Source, waiting: int) -> list[tuple[str, object]]:
    hold = "new articles wait for your approval" if source.needs_approval else ""
    failing = (
        f"{source.failures} times in a row, since {output.time(source.failing_since)}"
        if source.failing_since
        else ""
    )
    moved = f"{source.moved_to}, seen {counted(source.moved_seen, 'time')}" if source.moved_to else ""
    return [
        ("source", f"{source.id}: {source.title}"),
        ("kind", f"{source.kind}, {source.state}"),
        ("location", source.location),
        ("before", ", ".join(source.earlier_locations)),
        ("leads to", moved),
        ("text", source.full_text.value),
        ("selector", source.selector),
        ("rules", "; ".join(source.rules)),
        ("topics", ", ".join(f"{label}={ours}" for label, ours in source.topic_map.items())),
        ("approval", hold),
        ("held", f"{counted(waiting, 'article')}: 'syndicate source held {source.id}'" if waiting else ""),
        ("first read", source.baseline_at),
        ("last read", source.last_success_at),
        ("looked at", source.last_checked_at),
        ("rhythm", f"every {_span(source.interval_s)}" if _is_polled(source) else ""),
        ("next", source.next_due_at if _is_polled(source) else None),
        ("fails", failing),
        ("last error", source.last_error),
    ]


def _is_polled(source: Source) -> bool:
    return source.state in {SourceState.ACTIVE, SourceState.LOST} and source.kind is not SourceKind.PUSH


def _span(seconds: int) -> str:
    """A length of time as people say it."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h".replace(".0 h", " h")


def _row(source: Source, slugs: tuple[str, ...], waiting: int) -> tuple[object, ...]:
    return (
        source.id,
        source.kind.value,
        source.state.value,
        source.title,
        ", ".join(slugs),
        _span(source.interval_s) if _is_polled(source) else "",
        source.last_success_at,
        source.next_due_at if _is_polled(source) else None,
        waiting or "",
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
