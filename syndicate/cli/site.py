"""Commands that bring articles in and out: collect, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import installation
from syndicate.cli.output import Output

if TYPE_CHECKING:
    from syndicate.service.collecting import SourceReport

__all__ = ["collect", "collect_one", "publish"]


def collect(
    ctx: typer.Context,
    source: Annotated[int | None, typer.Option(metavar="ID", help="This source now, due or not.")] = None,
) -> None:
    """Collect the sources that are due, or one source now."""
    if source is not None:
        collect_one(ctx, source)
        return
    from syndicate.service.collecting import collect_due, count_due

    with installation(ctx) as (inst, output):
        with output.progress("Collecting", count_due(inst)) as advance:
            reports = collect_due(inst, on_report=lambda _report: advance(1))
        _show(output, reports)


def collect_one(ctx: typer.Context, source_id: int) -> None:
    """Collects one source and shows what it brought."""
    from syndicate.service.collecting import collect_source

    with installation(ctx) as (inst, output):
        _show(output, [collect_source(inst, source_id)])


def publish(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the public site here, for any web server.")
    ] = None,
) -> None:
    """Refresh feeds and archive; with --out, write them as a static site."""
    from syndicate.service.feeds import refresh_feeds
    from syndicate.service.publishing import export_site

    with installation(ctx) as (inst, output):
        feeds = refresh_feeds(inst)
        if out is None:
            output.result({"feeds": feeds}, lambda: output.line(f"{feeds} feeds are up to date."))
            return
        written = export_site(inst, out)
        output.result(
            written,
            lambda: output.line(
                f"{out}: {written.total} files, {written.changed} of them written, {written.removed} removed."
            ),
        )


def _show(output: Output, reports: list[SourceReport]) -> None:
    rows = [
        (r.source_id, r.title or r.location, r.new, r.baseline, r.changed, r.same, r.error and "failed")
        for r in reports
    ]

    def show() -> None:
        if not rows:
            output.line("No source is due; 'collect --source ID' reads one all the same.")
            return
        output.table(("id", "source", "new", "not mailed", "changed", "same", ""), rows)

    output.result(reports, show)
    for report in reports:
        for problem in report.problems:
            output.warn(f"{report.title or report.location}: {problem}")
        if report.error:
            output.warn(f"source {report.source_id}: {report.error}")
    if any(report.error for report in reports):
        raise typer.Exit(1)
