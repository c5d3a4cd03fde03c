"""Commands about editions: look at them, and decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import Yes, command_group, installation
from syndicate.cli.output import counted
from syndicate.errors import UsageError
from syndicate.model import SETTLED, DeliveryState, Edition

if TYPE_CHECKING:
    from syndicate.cli.output import Output
    from syndicate.service.editions import EditionReport

__all__ = ["app"]

app = command_group("Digests: what was sent, to how many, and what is open.")

_NONE = "No editions yet: 'syndicate send NEWSLETTER' opens one, and 'syndicate serve' does so by schedule."
_MOST_LINES = 50

EditionId = Annotated[int, typer.Argument(metavar="ID", help="Its number in 'edition list'.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    newsletter: Annotated[str | None, typer.Option(metavar="SLUG", help="Only of this newsletter.")] = None,
) -> None:
    """Show every edition, the newest first."""
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
                r.edition.state.value,
                sum(r.counts.values()),
                r.counts[DeliveryState.SENT],
                r.edition.subject,
            )
            for r in reports
        ]
        headings = ("id", "newsletter", "cadence", "opened", "state", "readers", "sent", "subject")
        output.result(
            [_as_json(r) for r in reports],
            lambda: output.table(headings, rows) if rows else output.line(_NONE),
        )


@app.command()
def show(ctx: typer.Context, edition_id: EditionId) -> None:
    """Show one edition and whom it has not reached.

    A count for every state of delivery, and each reader who has not simply got it.
    """
    from syndicate.service.editions import report_edition

    with installation(ctx) as (inst, output):
        report = report_edition(inst, edition_id)
        output.result(_as_json(report), lambda: _show(output, report))


@app.command()
def approve(ctx: typer.Context, edition_id: EditionId) -> None:
    """Let a held edition go.

    It is sent by 'syndicate serve' if that runs, or else by the next 'syndicate send'.
    """
    from syndicate.service.editions import approve_edition

    with installation(ctx) as (inst, output):
        _tell(output, approve_edition(inst, edition_id))


@app.command()
def pause(ctx: typer.Context, edition_id: EditionId) -> None:
    """Stop an edition after what is on its way."""
    from syndicate.service.editions import pause_edition

    with installation(ctx) as (inst, output):
        _tell(output, pause_edition(inst, edition_id))


@app.command()
def hold(
    ctx: typer.Context,
    edition_id: EditionId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever has to approve it.")] = "",
) -> None:
    """Stop an edition until somebody approves it.

    What is on its way is finished. 'edition approve' lets it go on with exactly those who are left.
    """
    from syndicate.service.editions import hold_edition

    with installation(ctx) as (inst, output):
        _tell(output, hold_edition(inst, edition_id, reason or "by the operator"))


@app.command()
def resume(ctx: typer.Context, edition_id: EditionId) -> None:
    """Let a paused edition go on.

    It goes to exactly those readers who are left, by 'syndicate serve' or the next 'syndicate send'.
    """
    from syndicate.service.editions import resume_edition

    with installation(ctx) as (inst, output):
        _tell(output, resume_edition(inst, edition_id))


@app.command()
def cancel(ctx: typer.Context, edition_id: EditionId, yes: Yes = False) -> None:
    """End an edition for good.

    Who has not got it gets its articles with the next one.
    """
    from syndicate.service.editions import cancel_edition, report_edition

    with installation(ctx) as (inst, output):
        edition = report_edition(inst, edition_id).edition
        question = f"Cancel edition {edition_id} ('{edition.subject}') for everybody who has not got it?"
        output.confirm(question, yes=yes)
        _tell(output, cancel_edition(inst, edition_id))


@app.command()
def retry(
    ctx: typer.Context,
    edition_id: EditionId,
    failed: Annotated[bool, typer.Option("--failed", help="Those that the relay refused.")] = False,
    uncertain: Annotated[
        bool, typer.Option("--uncertain", help="Those of which nobody knows whether they arrived.")
    ] = False,
) -> None:
    """Put deliveries back, to be tried again.

    They are sent by 'syndicate serve' if that runs, or else by the next 'syndicate send'.
    """
    from syndicate.service.editions import retry_edition

    states = {DeliveryState.FAILED} if failed else set()
    states |= {DeliveryState.UNCERTAIN} if uncertain else set()
    if not states:
        raise UsageError("edition retry: say which ones, with --failed or --uncertain or both")
    with installation(ctx) as (inst, output):
        count = retry_edition(inst, edition_id, states)
        output.result(
            {"id": edition_id, "put_back": count},
            lambda: output.line(
                f"Put back for {counted(count, 'reader')}."
                if count
                else f"Edition {edition_id} has no such deliveries; 'edition show {edition_id}' counts them."
            ),
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
    readers = "for every cadence" if edition.cadence_filter is None else edition.cadence
    finished = f", finished {output.time(edition.finished_at)}" if edition.finished_at else ""
    output.line(f"Edition {edition.id} of '{report.newsletter.slug}': {edition.subject}")
    output.line(f"{edition.state}{reason}, {readers}, opened {output.time(edition.opened_at)}{finished}")
    output.line()
    output.table(("state", "readers"), [(state.value, count) for state, count in report.counts.items()])
    if not report.exceptions:
        return
    output.line()
    rows = [
        (
            d.address or "(erased)",
            d.state.value,
            d.attempts,
            d.attempted_at,
            None if d.state in SETTLED else d.next_attempt_at,
            d.reply,
        )
        for d in report.exceptions[:_MOST_LINES]
    ]
    output.table(("reader", "state", "attempts", "last attempt", "next", "what was said"), rows)
    if left := len(report.exceptions) - len(rows):
        output.line(f"... and {counted(left, 'reader')} more; --json has them all")
