"""Commands that look at a digest and send it: preview, send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subscribers.model import Cadence, SubscriptionStatus
from syndicate.cli.context import Yes, installation
from syndicate.cli.output import Output, counted
from syndicate.cli.signals import stop_signals
from syndicate.errors import UsageError
from syndicate.model import ANY_CADENCE, DeliveryState, EditionState, Newsletter

if TYPE_CHECKING:
    from syndicate.service.installation import Installation
    from syndicate.service.sending import SendReport

__all__ = ["preview", "send"]

NewsletterSlug = Annotated[str, typer.Argument(metavar="NEWSLETTER", help="Its slug.")]

#: States in which an edition waits for the operator, and what lets it go.
_STANDING = {EditionState.HELD: "approve", EditionState.PAUSED: "resume"}


def preview(
    ctx: typer.Context,
    newsletter: NewsletterSlug,
    address: Annotated[
        str | None, typer.Option("--for", metavar="ADDRESS", help="As this subscriber would get it now.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here: .eml, .html or .txt.")
    ] = None,
) -> None:
    """Show what would be sent; sends nothing.

    Without --out it prints the text part.

    \b
    syndicate preview notes --out digest.html
    syndicate preview notes --for ann@example.org
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.digest.preview import KINDS, extract_part
    from syndicate.service.newsletters import get_newsletter
    from syndicate.service.previewing import preview as make_preview

    kind = out.suffix.lstrip(".").lower() if out else "txt"
    if kind not in KINDS:
        raise UsageError(f"{out}: the file's name ends in one of {', '.join('.' + k for k in KINDS)}")
    with installation(ctx) as (inst, output):
        made = make_preview(inst, get_newsletter(inst, newsletter), address=address)
        content = extract_part(made.message, kind)
        if out is not None:
            try:
                out.write_bytes(content)
            except OSError as error:
                raise UsageError(f"{out} cannot be written: {error.strerror}") from None
        text = content.decode("utf-8").replace("\r\n", "\n") if out is None else None
        output.say(f"Subject: {made.subject}\nThis is {made.note}.\n")
        output.result(
            {"subject": made.subject, "articles": made.articles, "note": made.note, "out": out, "text": text},
            lambda: output.line(f"Wrote {out}." if text is None else text),
        )


def send(
    ctx: typer.Context,
    newsletter: NewsletterSlug,
    cadence: Annotated[Cadence | None, typer.Option(help="Only to readers of this cadence.")] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Only a test, to this address; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who would get what; send nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Send all that is new to its readers, now.

    An edition that was begun before is finished first. Who has nothing new gets no mail.

    \b
    syndicate send notes --to me@example.org      a test
    syndicate send notes --dry-run                who would get what
    syndicate send notes                          asks, then sends
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.newsletters import get_newsletter

    if to and (dry_run or cadence):
        raise UsageError("send: --to sends one test and nothing else; leave --dry-run and --cadence out")
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
    from syndicate.service.sending import list_unfinished

    for left in list_unfinished(inst, newsletter.id):
        output.say(f"Edition {left.id} ('{left.subject}') was begun before and would be finished first.")
    planned = plan_edition(inst, newsletter, cadence=cadence or ANY_CADENCE)
    if planned is None:
        nothing = {"readers": 0, "subject": "", "articles": [], "selections": []}
        output.result(nothing, lambda: output.line(_why_nothing(inst, newsletter)))
        return
    titles = {a.id: a.title for a in planned.articles}
    rows = [(count, len(ids), "; ".join(titles[i] for i in ids)) for ids, count in planned.selections.items()]

    def show() -> None:
        output.line(f"Would send '{planned.edition.subject}' to {counted(planned.readers, 'reader')}:")
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


def _send_editions(
    inst: Installation, output: Output, newsletter: Newsletter, cadence: Cadence | None, *, yes: bool
) -> None:
    from syndicate.service.sending import list_unfinished

    reports: list[SendReport] = []
    is_done = True
    for left in list_unfinished(inst, newsletter.id):
        output.confirm(f"Finish edition {left.id} ('{left.subject}'), which was begun before?", yes=yes)
        is_done = _run(inst, output, left.id, reports)
        if not is_done:
            break
    if is_done:
        edition_id = _open(inst, output, newsletter, cadence, yes=yes)
        is_done = edition_id is None or _run(inst, output, edition_id, reports)
    output.result(
        [_summary(r) for r in reports], lambda: _show_reports(output, reports, _why_nothing(inst, newsletter))
    )
    if not is_done:
        raise typer.Exit(1)


def _open(
    inst: Installation, output: Output, newsletter: Newsletter, cadence: Cadence | None, *, yes: bool
) -> int | None:
    """Opens the edition of now, if there is anything new and the operator agrees."""
    from syndicate.service.editions import open_edition, plan_edition

    if not yes:
        planned = plan_edition(inst, newsletter, cadence=cadence or ANY_CADENCE)
        if planned is None:
            return None
        readers = counted(planned.readers, "reader")
        output.confirm(f"Send '{planned.edition.subject}' to {readers}?", yes=False)
    opened = open_edition(
        inst,
        newsletter,
        cadence=cadence or ANY_CADENCE,
        slot=f"manual {inst.clock():%Y-%m-%dT%H:%M:%S.%fZ}",
        reason="manual send",
    )
    return opened.edition.id if opened is not None else None


def _run(inst: Installation, output: Output, edition_id: int, reports: list[SendReport]) -> bool:
    """Sends an edition and notes its report; False if the relay or a signal stopped it."""
    from syndicate.service.sending import count_waiting, send_edition

    waiting = count_waiting(inst, edition_id)
    with stop_signals() as is_stopped, output.progress(f"Sending edition {edition_id}", waiting) as advance:
        report = send_edition(inst, edition_id, on_progress=advance, should_stop=is_stopped)
    reports.append(report)
    if report.fault is not None:
        output.warn(f"{report.fault}. Look at [smtp] in the configuration file.")
    if report.fault is not None or is_stopped():
        answers = "with every answer on record"
        if report.uncertain:
            unclear = counted(report.uncertain, "reader")
            answers = f"of {unclear} nobody knows yet: 'syndicate edition show {edition_id}' lists them"
        output.warn(f"Stopped, {answers}. 'syndicate send' goes on where it stopped.")
        return False
    return True


def _summary(report: SendReport) -> dict[str, object]:
    return {
        "id": report.edition.id,
        "state": report.edition.state,
        "subject": report.edition.subject,
        "sent": report.sent,
        "uncertain": report.uncertain,
        "deliveries": report.counts,
        "next_attempt_at": report.next_attempt_at,
        "error": str(report.fault) if report.fault else None,
    }


def _show_reports(output: Output, reports: list[SendReport], nothing: str) -> None:
    if not reports:
        output.line(nothing)
    for report in reports:
        counts = ", ".join(f"{count} {state}" for state, count in report.counts.items() if count)
        output.line(
            f"Edition {report.edition.id} '{report.edition.subject}' is {report.edition.state}: {counts}."
        )
        waits = report.counts[DeliveryState.DEFERRED] + report.counts[DeliveryState.UNCERTAIN]
        if report.fault is None and waits and report.next_attempt_at is not None:
            again = output.time(report.next_attempt_at)
            output.line(f"  tried again from {again}, by 'syndicate serve' or the next 'syndicate send'")
        unsettled = report.counts[DeliveryState.FAILED] + report.counts[DeliveryState.UNCERTAIN]
        if unsettled or report.edition.state is EditionState.HELD:
            output.line(f"  who and why: syndicate edition show {report.edition.id}")


def _why_nothing(inst: Installation, newsletter: Newsletter) -> str:
    from syndicate.service.editions import list_edition_reports
    from syndicate.service.people import list_readers

    if next(list_readers(inst, newsletter, SubscriptionStatus.ACTIVE), None) is None:
        return f"Nothing to send: nobody subscribes to '{newsletter.slug}' yet; 'syndicate subscriber add'."
    waiting = [
        f"\nEdition {r.edition.id} is {r.edition.state}: "
        f"'syndicate edition {_STANDING[r.edition.state]} {r.edition.id}' lets it go."
        for r in list_edition_reports(inst, newsletter)
        if r.edition.state in _STANDING
    ]
    return "Nothing to send: there is nothing new to any reader." + "".join(waiting)
