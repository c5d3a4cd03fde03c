"""Commands about subscribers."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subscribers.model import Cadence, SubscriptionStatus
from syndicate.cli.context import Yes, command_group, installation
from syndicate.cli.output import counted
from syndicate.errors import UsageError

if TYPE_CHECKING:
    from subscribers.transfer import LineReport
    from syndicate.cli.output import Output
    from syndicate.service.people import Person

__all__ = ["app"]

app = command_group("Who receives what, and why we may write to them.")

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="An e-mail address.")]
NewsletterSlug = Annotated[
    str | None, typer.Option("--newsletter", metavar="SLUG", help="Only of this newsletter.")
]

_MOST_LINES = 20


@app.command()
def add(
    ctx: typer.Context,
    address: Address,
    newsletter: Annotated[
        str | None, typer.Option(metavar="SLUG", help="To this newsletter; needed if there are several.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="For the greeting.")] = "",
    cadence: Annotated[Cadence | None, typer.Option(help="The newsletter's default if left out.")] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="TAG", help="Only this; may be repeated. All if left out."),
    ] = None,
    statement: Annotated[
        str, typer.Option(metavar="TEXT", help="Where this person agreed; goes into the consent record.")
    ] = "added by the operator",
) -> None:
    """Add somebody who agreed elsewhere.

    Who has left stays away, and who is suppressed gets nothing.

    \b
    syndicate subscriber add ann@example.org --name Ann --statement "signed up at the fair"
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.newsletters import choose_newsletter
    from syndicate.service.people import add_subscriber

    with installation(ctx) as (inst, output):
        chosen = choose_newsletter(inst, newsletter)
        subscription, reason = add_subscriber(
            inst, chosen, email=address, name=name, cadence=cadence, topics=topics or [], statement=statement
        )
        output.result(
            {"subscription": subscription, "reason": reason},
            lambda: output.line(
                f"{address}: {subscription.status if subscription else 'not added'} "
                f"in '{chosen.slug}' ({reason})."
            ),
        )
        if subscription is None or subscription.status is not SubscriptionStatus.ACTIVE:
            raise typer.Exit(1)


@app.command("list")
def list_(
    ctx: typer.Context,
    newsletter: NewsletterSlug = None,
    status: Annotated[SubscriptionStatus | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Show subscriptions, the oldest first."""
    from syndicate.service.newsletters import get_newsletter, list_newsletters
    from syndicate.service.people import list_readers

    with installation(ctx) as (inst, output):
        slugs = {n.id: n.slug for n in list_newsletters(inst)}
        chosen = get_newsletter(inst, newsletter) if newsletter else None
        found = list(list_readers(inst, chosen, status))
        rows = [
            (
                r.subscriber.email,
                r.subscriber.name,
                slugs.get(r.subscription.newsletter_id, ""),
                r.subscription.status.value,
                r.subscription.cadence.value,
                ", ".join(r.subscription.topics) or "all",
                r.subscription.created_at,
            )
            for r in found
        ]
        headings = ("address", "name", "newsletter", "status", "cadence", "topics", "since")
        output.result(
            [
                {
                    "email": r.subscriber.email,
                    "name": r.subscriber.name,
                    "newsletter": slugs.get(r.subscription.newsletter_id),
                    "subscription": r.subscription,
                }
                for r in found
            ],
            lambda: (
                output.table(headings, rows)
                if rows
                else output.line(
                    "Nobody yet: 'syndicate subscriber add ADDRESS' adds somebody."
                    if chosen is None and status is None
                    else "Nobody like that; 'syndicate subscriber list' shows everybody."
                )
            ),
        )


@app.command()
def show(ctx: typer.Context, address: Address) -> None:
    """Show all that is kept about somebody.

    Subscriptions, and the record of how this person agreed to them.
    """
    from syndicate.service.people import show_subscriber

    with installation(ctx) as (inst, output):
        person = show_subscriber(inst, address)
        output.result(person, lambda: _show(output, person))


@app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Its header names at least 'email'.")],
    newsletter: Annotated[
        str | None,
        typer.Option(metavar="SLUG", help="For lines that name none; needed if there are several."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write; without it nothing changes.")] = False,
    statement: Annotated[
        str, typer.Option(metavar="TEXT", help="Where these people agreed; goes into the consent record.")
    ] = "imported by the operator, who states that these people agreed",
) -> None:
    """Add people from a CSV file, once you say --apply.

    Without it nothing changes, and it tells what would become of each line. The header names the columns:
    email, and maybe name, newsletter, cadence, topics (divided by ;), time_zone and language.

    \b
    email,name,topics
    ann@example.org,Ann,Tides;Birds
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.newsletters import get_newsletter
    from syndicate.service.people import import_subscribers

    fates: Counter[str] = Counter()
    shown: list[LineReport] = []

    with installation(ctx) as (inst, output):

        def note(report: LineReport) -> None:
            fates[report.fate.value] += 1
            if output.as_json or not apply or report.fate.name != "ADDED":
                shown.append(report)

        import_subscribers(
            inst,
            file,
            newsletter=get_newsletter(inst, newsletter) if newsletter else None,
            apply=apply,
            statement=statement,
            on_line=note,
        )

        def tell() -> None:
            for report in shown[:_MOST_LINES]:
                output.line(str(report))
            if len(shown) > _MOST_LINES:
                output.line(f"... and {counted(len(shown) - _MOST_LINES, 'line')} more; --json has them all")
            output.line(
                ", ".join(f"{count} {fate}" for fate, count in fates.items()) or "The file names nobody."
            )
            if not apply and fates:
                output.line("Nothing was changed: add --apply to do it.")

        output.result({"applied": apply, "fates": fates, "lines": [asdict(report) for report in shown]}, tell)


@app.command()
def export(
    ctx: typer.Context,
    newsletter: NewsletterSlug = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Stdout if left out.")] = None,
) -> None:
    """Write subscriptions as CSV.

    No cell of it is taken for a formula when it is opened as a spreadsheet.
    """
    from syndicate.service.newsletters import get_newsletter
    from syndicate.service.people import export_subscribers

    with installation(ctx) as (inst, output):
        chosen = get_newsletter(inst, newsletter) if newsletter else None
        if out is None:
            if output.as_json:
                raise UsageError("subscriber export writes CSV to stdout; with --json, add --out FILE")
            export_subscribers(inst, chosen, sys.stdout)
            return
        try:
            with out.open("w", encoding="utf-8", newline="") as stream:
                count = export_subscribers(inst, chosen, stream)
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror}") from None
        output.result(
            {"out": out, "count": count},
            lambda: output.line(f"Wrote {counted(count, 'subscription')} to {out}."),
        )


@app.command()
def suppress(
    ctx: typer.Context,
    address: Address,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For the record.")] = "by the operator",
) -> None:
    """Never mail an address again.

    Whoever subscribes it, known or not: nothing is sent there.
    """
    from syndicate.service.people import suppress_address

    with installation(ctx) as (inst, output):
        key = suppress_address(inst, address, evidence=reason)
        output.result(
            {"email_key": key}, lambda: output.line(f"{key} is suppressed: nothing is sent to it any more.")
        )


@app.command()
def erase(ctx: typer.Context, address: Address, yes: Yes = False) -> None:
    """Delete all that is kept about somebody.

    Only a hash stays, so that no import brings this person back.
    """
    from subscribers.addresses import parse_address
    from syndicate.service.people import erase_subscriber

    with installation(ctx) as (inst, output):
        parse_address(address, allow_private=True)
        output.confirm(f"Erase {address} for good?", yes=yes)
        existed = erase_subscriber(inst, address)
        text = f"{address} is erased." if existed else f"{address} was not known; it is refused from now on."
        output.result({"existed": existed}, lambda: output.line(text))


def _show(output: Output, person: Person) -> None:
    who = person.subscriber
    output.line(f"{who.email}{f' ({who.name})' if who.name else ''}, known since {who.created_at:%Y-%m-%d}")
    if person.suppression is not None:
        stop = person.suppression
        output.line(f"Suppressed on {stop.at:%Y-%m-%d}: {stop.reason}, {stop.evidence}")
    for slug, s in person.subscriptions:
        output.line(f"  {slug}: {s.status}, {s.cadence}, topics {', '.join(s.topics) or 'all'}")
    output.line("Consent:")
    for c in person.consents:
        output.line(f"  {output.time(c.at)}  {c.action} by {c.method}: {c.text} [{c.proof}]")
