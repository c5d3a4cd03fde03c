"""Commands about newsletters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from subscribers.model import Cadence
from syndicate.cli.context import command_group, installation
from syndicate.model import UncertainPolicy

if TYPE_CHECKING:
    from syndicate.service.newsletters import NewsletterChanges

__all__ = ["app"]

app = command_group("What people subscribe to.")

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="Its short name, as in its address.")]
Title = Annotated[str | None, typer.Option(help="Its name.")]
Description = Annotated[str | None, typer.Option(help="A sentence about it.")]
Language = Annotated[str | None, typer.Option(help="BCP 47, such as en or de.")]
FromName = Annotated[str | None, typer.Option(help="Sender's name; the title if left out.")]
FromEmail = Annotated[
    str | None, typer.Option(help="Sender's address; the relay must be allowed to send for it.")
]
ReplyTo = Annotated[str | None, typer.Option(help="Where answers go.")]
PostalAddress = Annotated[
    str | None, typer.Option(help="Shown in each mail; the law of many countries asks for it.")
]
Subject = Annotated[str | None, typer.Option(help="Template over title, lead, count and date.")]
Topics = Annotated[list[str] | None, typer.Option("--topic", help="A topic to choose from; may be repeated.")]
Cadences = Annotated[
    list[Cadence] | None,
    typer.Option("--cadence", help="On offer, the first is the default; may be repeated."),
]
TimeZone = Annotated[str | None, typer.Option(help="IANA name, such as Europe/Berlin.")]
Policy = Annotated[
    UncertainPolicy | None,
    typer.Option("--uncertain", help="What becomes of mail whose arrival nobody knows."),
]
At = Annotated[str | None, typer.Option("--at", metavar="HH:MM", help="When its editions open.")]
Weekday = Annotated[str | None, typer.Option(help="Of the weekly edition, such as friday.")]
Monthday = Annotated[int | None, typer.Option(help="Of the monthly edition, 1 to 28.")]


def _changes(
    title: str | None,
    description: str | None,
    language: str | None,
    from_name: str | None,
    from_email: str | None,
    reply_to: str | None,
    postal_address: str | None,
    subject: str | None,
    topics: list[str] | None,
    cadences: list[Cadence] | None,
    time_zone: str | None,
    uncertain: UncertainPolicy | None,
    at: str | None,
    weekday: str | None,
    monthday: int | None,
) -> NewsletterChanges:
    from syndicate.service.newsletters import NewsletterChanges

    return NewsletterChanges(
        title=title,
        description=description,
        language=language,
        from_name=from_name,
        from_email=from_email,
        reply_to=reply_to,
        postal_address=postal_address,
        subject_template=subject,
        topics=tuple(topics) if topics else None,
        cadences=tuple(cadences) if cadences else None,
        time_zone=time_zone,
        uncertain_policy=uncertain,
        send_at=at,
        weekday=weekday,
        monthday=monthday,
    )


@app.command()
def add(
    ctx: typer.Context,
    slug: Slug,
    title: Title = None,
    description: Description = None,
    language: Language = None,
    from_name: FromName = None,
    from_email: FromEmail = None,
    reply_to: ReplyTo = None,
    postal_address: PostalAddress = None,
    subject: Subject = None,
    topics: Topics = None,
    cadences: Cadences = None,
    time_zone: TimeZone = None,
    uncertain: Policy = None,
    at: At = None,
    weekday: Weekday = None,
    monthday: Monthday = None,
) -> None:
    """Add a newsletter; everything but its slug has a default and can be changed later."""
    from syndicate.service.newsletters import add_newsletter

    changes = _changes(
        title, description, language, from_name, from_email, reply_to, postal_address, subject, topics,
        cadences, time_zone, uncertain, at, weekday, monthday,
    )  # fmt: skip
    with installation(ctx) as (inst, output):
        added = add_newsletter(inst, slug, changes)
        output.result(
            added,
            lambda: output.line(
                f"Added '{added.slug}' ({added.title}), from {added.from_email}.\n"
                f"Next: syndicate source add URL-or-FOLDER --newsletter {added.slug}"
            ),
        )


@app.command()
def edit(
    ctx: typer.Context,
    slug: Slug,
    title: Title = None,
    description: Description = None,
    language: Language = None,
    from_name: FromName = None,
    from_email: FromEmail = None,
    reply_to: ReplyTo = None,
    postal_address: PostalAddress = None,
    subject: Subject = None,
    topics: Topics = None,
    cadences: Cadences = None,
    time_zone: TimeZone = None,
    uncertain: Policy = None,
    at: At = None,
    weekday: Weekday = None,
    monthday: Monthday = None,
) -> None:
    """Change what is given; the rest stays."""
    from syndicate.service.newsletters import edit_newsletter

    changes = _changes(
        title, description, language, from_name, from_email, reply_to, postal_address, subject, topics,
        cadences, time_zone, uncertain, at, weekday, monthday,
    )  # fmt: skip
    with installation(ctx) as (inst, output):
        after = edit_newsletter(inst, slug, changes)
        output.result(after, lambda: output.line(f"Changed '{after.slug}'."))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Every newsletter and when its next editions open."""
    from zoneinfo import ZoneInfo

    from syndicate.schedule.slots import find_next_slot
    from syndicate.service.newsletters import list_newsletters, list_schedules

    with installation(ctx) as (inst, output):
        found = list_newsletters(inst)
        rows = []
        for n in found:
            zone = ZoneInfo(n.time_zone)
            slots = [
                f"{s.cadence} {find_next_slot(s, zone, inst.clock()).local.replace('T', ' ')}"
                for s in list_schedules(inst, n.id)
                if s.cadence in n.cadences
            ]
            rows.append((n.slug, n.title, n.from_email, ", ".join(n.topics), n.time_zone, ", ".join(slots)))
        headings = ("slug", "title", "from", "topics", "time zone", "next editions")
        output.result(
            found,
            lambda: output.table(headings, rows) if rows else output.line("None yet: 'newsletter add SLUG'."),
        )


@app.command()
def remove(
    ctx: typer.Context, slug: Slug, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a newsletter with its editions; sources, articles and subscribers stay."""
    from syndicate.service.newsletters import get_newsletter, remove_newsletter

    with installation(ctx) as (inst, output):
        newsletter = get_newsletter(inst, slug)
        if not output.confirm(f"Delete '{slug}' ({newsletter.title}) with its editions?", yes=yes):
            raise typer.Exit(1)
        remove_newsletter(inst, slug)
        output.result(newsletter, lambda: output.line(f"Deleted '{slug}'."))
