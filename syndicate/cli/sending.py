"""Commands that look at a digest and send it: preview, send."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subscribers.model import Cadence
from syndicate.cli.context import installation
from syndicate.cli.output import Output
from syndicate.errors import UsageError
from syndicate.model import ANY_CADENCE, DeliveryState, EditionState, Newsletter

if TYPE_CHECKING:
    from syndicate.service.editions import Opened
    from syndicate.service.installation import Installation
    from syndicate.service.sending import SendReport

__all__ = ["preview", "send"]

NewsletterSlug = Annotated[str, typer.Argument(metavar="NEWSLETTER", help="Its slug.")]


def preview(
    ctx: typer.Context,
    newsletter: NewsletterSlug,
    address: Annotated[
        str | None, typer.Option("--for", metavar="ADDRESS", help="As this subscriber would get it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here: .eml, .html or .txt.")
    ] = None,
) -> None:
    """Show what would be sent; sends nothing. On stdout it is the text part."""
    from syndicate.digest.preview import KINDS, extract_part
    from syndicate.service.newsletters import get_newsletter
    from syndicate.service.previewing import preview as make_preview

    kind = out.suffix.lstrip(".").lower() if out else "txt"
    if kind not in KINDS:
        raise UsageError(f"{out}: a preview is one of {', '.join('.' + k for k in KINDS)}")
    with installation(ctx) as (inst, output):
        made = make_preview(inst, get_newsletter(inst, newsletter), address=address)
        content = extract_part(made.message, kind)
        if out is not None:
            try:
                out.write_bytes(content)
            except OSError as error:
                raise UsageError(f"{out} cannot be written: {error.strerror}") from None
        output.say(f"Subject: {made.subject}\n{made.note}.\n")
        output.result(
            {"subject": made.subject, "articles": made.articles, "note": made.note, "out": out},
            lambda: output.line(f"Wrote {out}." if out else content.decode("utf-8").replace("\r\n", "\n")),
        )


def send(
    ctx: typer.Context,
    newsletter: NewsletterSlug,
    cadence: Annotated[Cadence | None, typer.Option(help="Only readers of this cadence.")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="A test to this address; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who would get what; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send now: finish what was begun, then an edition of all that is new to its readers."""
    from syndicate.service.newsletters import get_newsletter

    with installation(ctx) as (inst, output):
        found = get_newsletter(inst, newsletter)
        if to:
            _send_tests(inst, output, found, to)
        elif dry_run:
            _show_plan(inst, output, found, cadence)
        else:
            _send_editions(inst, output, found, cadence, yes=yes)


def _send_tests(inst: Installation, output: Output, newsletter: Newsletter, to: list[str]) -> None:
    from syndicate.deliver.outcome import OutcomeKind
    from syndicate.service.previewing import send_test

    outcomes = send_test(inst, newsletter, to)
    rows = [
        (address, outcome.kind.value, outcome.reply) for address, outcome in zip(to, outcomes, strict=True)
    ]
    output.result(
        [{"address": a, "outcome": kind, "reply": reply} for a, kind, reply in rows],
        lambda: output.table(("test to", "outcome", "the relay said"), rows),
    )
    if any(outcome.kind is not OutcomeKind.SENT for outcome in outcomes):
        raise typer.Exit(1)


def _show_plan(inst: Installation, output: Output, newsletter: Newsletter, cadence: Cadence | None) -> None:
    from syndicate.service.editions import plan_edition

    planned = plan_edition(inst, newsletter, cadence=cadence or ANY_CADENCE)
    if planned is None:
        output.result({"readers": 0, "articles": []}, lambda: output.line(_NOTHING))
        return
    titles = {a.id: a.title for a in planned.articles}
    rows = [(count, len(ids), "; ".join(titles[i] for i in ids)) for ids, count in planned.selections.items()]

    def show() -> None:
        output.line(f"Would send '{planned.edition.subject}' to {planned.readers} readers:")
        output.table(("readers", "articles", "which"), rows)

    output.result(
        {
            "readers": planned.readers,
            "subject": planned.edition.subject,
            "articles": list(titles.values()),
            "selections": [
                {"readers": count, "articles": list(ids)} for ids, count in planned.selections.items()
            ],
        },
        show,
    )


_NOTHING = "Nothing to send: there is nothing new to any reader."


def _send_editions(
    inst: Installation, output: Output, newsletter: Newsletter, cadence: Cadence | None, *, yes: bool
) -> None:
    from syndicate.service.editions import open_edition
    from syndicate.service.sending import list_unfinished

    reports = []
    for left in list_unfinished(inst, newsletter.id):
        output.say(f"Finishing edition {left.id} ({left.subject}), which was begun before.")
        reports.append(_run(inst, output, left.id))
    asked = _ask(inst, output, newsletter, cadence, yes=yes)
    opened: Opened | None = None
    if asked:
        opened = open_edition(
            inst,
            newsletter,
            cadence=cadence or ANY_CADENCE,
            slot=f"manual {inst.clock():%Y-%m-%dT%H:%M:%S.%fZ}",
            reason="manual send",
        )
    if opened is not None:
        reports.append(_run(inst, output, opened.edition.id))
    output.result([_summary(r) for r in reports], lambda: _show_reports(output, reports))
    if any(report.fault is not None for report in reports):
        raise typer.Exit(1)


def _ask(
    inst: Installation, output: Output, newsletter: Newsletter, cadence: Cadence | None, *, yes: bool
) -> bool:
    from syndicate.service.editions import plan_edition

    if yes:
        return True
    planned = plan_edition(inst, newsletter, cadence=cadence or ANY_CADENCE)
    if planned is None:
        return False
    return output.confirm(f"Send '{planned.edition.subject}' to {planned.readers} readers?", yes=False)


def _run(inst: Installation, output: Output, edition_id: int) -> SendReport:
    from syndicate.service.sending import count_waiting, send_edition

    with output.progress(f"Sending edition {edition_id}", count_waiting(inst, edition_id)) as advance:
        return send_edition(inst, edition_id, on_progress=advance)


def _summary(report: SendReport) -> dict[str, object]:
    return {
        "id": report.edition.id,
        "state": report.edition.state,
        "subject": report.edition.subject,
        "sent": report.sent,
        "deliveries": report.counts,
        "next_attempt_at": report.next_attempt_at,
        "error": str(report.fault) if report.fault else None,
    }


def _show_reports(output: Output, reports: list[SendReport]) -> None:
    if not reports:
        output.line(_NOTHING)
    for report in reports:
        counts = ", ".join(f"{count} {state}" for state, count in report.counts.items() if count)
        output.line(
            f"Edition {report.edition.id} '{report.edition.subject}' is {report.edition.state}: {counts}."
        )
        if report.fault is not None:
            output.warn(f"Stopped: {report.fault}. Nobody is lost: 'send' again goes on where it stopped.")
        elif report.next_attempt_at is not None:
            output.line(f"  tried again from {_local(report.next_attempt_at)}, by 'serve' or the next 'send'")
        unsettled = report.counts[DeliveryState.FAILED] + report.counts[DeliveryState.UNCERTAIN]
        if unsettled or report.edition.state is EditionState.HELD:
            output.line(f"  who and why: syndicate edition show {report.edition.id}")


def _local(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M")
