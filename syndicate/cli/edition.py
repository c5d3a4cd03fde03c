"""Commands about editions: look at them, and decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import command_group, installation
from syndicate.errors import UsageError
from syndicate.model import DeliveryState, Edition

if TYPE_CHECKING:
    from syndicate.cli.output import Output
    from syndicate.service.editions import EditionReport

__all__ = ["app"]

app = command_group("Digests: what was sent, to how many, and what is open.")

EditionId = Annotated[int, typer.Argument(metavar="ID", help="Its number in 'edition list'.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    newsletter: Annotated[str | None, typer.Option(metavar="SLUG", help="Only of this newsletter.")] = None,
) -> None:
    """Every edition, the newest first."""
    from syndicate.service.editions import list_edition_reports
    from syndicate.service.newsletters import get_newsletter

    with installation(ctx) as (inst, output):
        reports = list_edition_reports(inst, get_newsletter(inst, newsletter) if newsletter else None)
        rows = [
            (
                r.edition.id,
                r.newsletter.slug,
                r.edition.cadence,
                r.edition.opened_at,
                r.edition.state,
                sum(r.counts.values()),
                r.counts[DeliveryState.SENT],
                r.edition.subject,
            )
            for r in reports
        ]
        headings = ("id", "newsletter", "cadence", "opened (UTC)", "state", "readers", "sent", "subject")
        output.result(
            [_as_json(r) for r in reports],
            lambda: output.table(headings, rows) if rows else output.line("No editions yet."),
        )


@app.command()
def show(ctx: typer.Context, edition_id: EditionId) -> None:
    """One edition: a count for every state, and each delivery that is not simply sent."""
    from syndicate.service.editions import report_edition

    with installation(ctx) as (inst, output):
        report = report_edition(inst, edition_id)
        output.result(_as_json(report), lambda: _show(output, report))


@app.command()
def approve(ctx: typer.Context, edition_id: EditionId) -> None:
    """Let a held edition be sent, by 'serve' or the next 'send'."""
    from syndicate.service.editions import approve_edition

    with installation(ctx) as (inst, output):
        _tell(output, approve_edition(inst, edition_id))


@app.command()
def pause(ctx: typer.Context, edition_id: EditionId) -> None:
    """Stop an edition after the messages that are on their way."""
    from syndicate.service.editions import pause_edition

    with installation(ctx) as (inst, output):
        _tell(output, pause_edition(inst, edition_id))


@app.command()
def resume(ctx: typer.Context, edition_id: EditionId) -> None:
    """Let a paused edition go on with exactly those readers who are left."""
    from syndicate.service.editions import resume_edition

    with installation(ctx) as (inst, output):
        _tell(output, resume_edition(inst, edition_id))


@app.command()
def cancel(
    ctx: typer.Context,
    edition_id: EditionId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End an edition for good; its articles come with the next one."""
    from syndicate.service.editions import cancel_edition

    with installation(ctx) as (inst, output):
        if not output.confirm(f"Cancel edition {edition_id} for everybody who has not got it?", yes=yes):
            raise typer.Exit(1)
        _tell(output, cancel_edition(inst, edition_id))


@app.command()
def retry(
    ctx: typer.Context,
    edition_id: EditionId,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed.")] = False,
    uncertain: Annotated[bool, typer.Option("--uncertain", help="Those of which nobody knows.")] = False,
) -> None:
    """Put deliveries back, to be sent by 'serve' or the next 'send'."""
    from syndicate.service.editions import retry_edition

    states = {DeliveryState.FAILED} if failed else set()
    states |= {DeliveryState.UNCERTAIN} if uncertain else set()
    if not states:
        raise UsageError("edition retry: say which ones, with --failed or --uncertain or both")
    with installation(ctx) as (inst, output):
        count = retry_edition(inst, edition_id, states)
        output.result(
            {"id": edition_id, "put_back": count}, lambda: output.line(f"{count} deliveries put back.")
        )


def _tell(output: Output, edition: Edition) -> None:
    output.result(
        edition, lambda: output.line(f"Edition {edition.id} ('{edition.subject}') is {edition.state}.")
    )


def _as_json(report: EditionReport) -> dict[str, object]:
    edition = report.edition
    return {
        "id": edition.id,
        "newsletter": report.newsletter.slug,
        "cadence": edition.cadence,
        "slot": edition.slot,
        "state": edition.state,
        "reason": edition.reason,
        "subject": edition.subject,
        "opened_at": edition.opened_at,
        "finished_at": edition.finished_at,
        "cutoff": edition.cutoff,
        "deliveries": report.counts,
        "exceptions": report.exceptions,
    }


def _show(output: Output, report: EditionReport) -> None:
    edition = report.edition
    reason = f" ({edition.reason})" if edition.reason else ""
    output.line(f"Edition {edition.id} of '{report.newsletter.slug}': {edition.subject}")
    output.line(f"{edition.state}{reason}, {edition.cadence}, slot {edition.slot}, cutoff {edition.cutoff}")
    output.line()
    output.table(("state", "readers"), [(state.value, count) for state, count in report.counts.items()])
    if report.exceptions:
        output.line()
        rows = [
            (d.address, d.state.value, d.attempts, d.attempted_at, d.next_attempt_at, d.reply)
            for d in report.exceptions
        ]
        output.table(("reader", "state", "attempts", "last (UTC)", "next (UTC)", "what was said"), rows)
