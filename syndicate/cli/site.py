"""Commands that bring articles in and out: collect, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import installation
from syndicate.cli.output import Output, counted
from syndicate.model import SourceKind, SourceState

if TYPE_CHECKING:
    from syndicate.service.collecting import SourceReport
    from syndicate.service.installation import Installation

__all__ = ["collect", "collect_one", "publish"]


def collect(
    ctx: typer.Context,
    source: Annotated[int | None, typer.Option(metavar="ID", help="This source now, due or not.")] = None,
) -> None:
    """Collect the sources that are due, or one now."""
    if source is not None:
        collect_one(ctx, source)
        return
    from syndicate.service.collecting import collect_due, count_due

    with installation(ctx) as (inst, output):
        with output.progress("Collecting", count_due(inst)) as advance:
            reports = collect_due(inst, on_report=lambda _report: advance(1))
        _show(output, reports, "" if reports else _why_nothing(inst, output))


def collect_one(ctx: typer.Context, source_id: int) -> None:
    """Collects one source and shows what it brought."""
    from syndicate.service.collecting import collect_source

    with installation(ctx) as (inst, output):
        _show(output, [collect_source(inst, source_id)], "")


def publish(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the public site here, for any web server.")
    ] = None,
) -> None:
    """Refresh feeds and archive, or write them as files.

    With --out it writes a static site: all that 'serve' shows, except for the forms.
    """
    from syndicate.service.feeds import refresh_feeds
    from syndicate.service.publishing import export_site

    with installation(ctx) as (inst, output):
        feeds = refresh_feeds(inst)
        if out is None:
            output.result({"feeds": feeds}, lambda: output.line(f"{counted(feeds, 'feed')} up to date."))
            return
        written = export_site(inst, out)
        text = f"{out}: {counted(written.total, 'file')}, {written.changed} of them written"
        gone = f", {written.removed} removed" if written.removed else ""
        output.result({"out": out, "files": written}, lambda: output.line(f"{text}{gone}."))


def _why_nothing(inst: Installation, output: Output) -> str:
    from syndicate.service.sources import list_sources

    active = [
        s
        for s, _ in list_sources(inst)
        if s.state in {SourceState.ACTIVE, SourceState.LOST} and s.kind is not SourceKind.PUSH
    ]
    if not active:
        return "There is no active source: 'syndicate source add URL-or-FOLDER' adds one."
    following = output.time(min(s.next_due_at for s in active))
    return f"No source is due before {following}; 'syndicate collect --source ID' reads one now."


def _show(output: Output, reports: list[SourceReport], nothing: str) -> None:
    headings = ("id", "source", "to be mailed", "not mailed", "changed", "same", "held", "")
    rows = [
        (r.source_id, r.title or r.location, r.new, r.baseline, r.changed, r.same, r.held, _remark(r))
        for r in reports
    ]
    output.result(reports, lambda: output.table(headings, rows) if rows else output.line(nothing))
    for report in reports:
        for problem in (*report.notes, *report.problems):
            output.warn(f"{report.title or report.location}: {problem}")
        if report.error:
            output.warn(f"source {report.source_id}: {report.error}")
    if any(report.error for report in reports):
        raise typer.Exit(1)


def _remark(report: SourceReport) -> str:
    if report.error:
        return "failed"
    remarks = [f"{report.excluded} kept out by its rules"] if report.excluded else []
    return ", ".join(remarks + ([f"{counted(report.noted, 'page')} noted"] if report.noted else []))
