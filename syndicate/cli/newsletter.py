"""Commands about newsletters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from subscribers.model import Cadence
from syndicate.cli.context import Yes, command_group, installation
from syndicate.errors import UsageError
from syndicate.model import Newsletter, UncertainPolicy

if TYPE_CHECKING:
    from syndicate.service.installation import Installation
    from syndicate.service.newsletters import NewsletterChanges

__all__ = ["app"]

app = command_group("What people subscribe to.")

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="Its short name, as in its address.")]
Title = Annotated[str | None, typer.Option(metavar="TITLE", help="Its name.")]
Description = Annotated[str | None, typer.Option(metavar="TEXT", help="A sentence about it.")]
Language = Annotated[
    str | None, typer.Option(metavar="TAG", help="Of its own words, as BCP 47: en, de, pt-BR.")
]
FromName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Sender's name; the title if it was never set.")
]
FromEmail = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Sender's address; the relay must be allowed to send for it."),
]
ReplyTo = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where answers go.")]
PostalAddress = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Shown in each mail; the law of many countries asks for it."),
]
Subject = Annotated[
    str | None,
    typer.Option(
        metavar="TEMPLATE", help="Such as '{{ title }}: {{ lead }}'; count and date are there, too."
    ),
]
Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TAG", help="Readers may choose it; may be repeated. '' takes all away."),
]
Cadences = Annotated[
    list[Cadence] | None,
    typer.Option(
        "--cadence",
        metavar="|".join(Cadence),
        help="On offer, the first is the default; may be repeated.",
    ),
]
TimeZone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Its schedules are in it; an IANA name: Europe/Berlin.")
]
Policy = Annotated[
    UncertainPolicy | None,
    typer.Option("--uncertain", help="Mail of which nobody knows whether it arrived: send again, or hold."),
]
At = Annotated[str | None, typer.Option("--at", metavar="HH:MM", help="When its editions open.")]
Weekday = Annotated[str | None, typer.Option(metavar="DAY", help="Of the weekly edition: friday.")]
Monthday = Annotated[int | None, typer.Option(metavar="N", help="Of the monthly edition, 1 to 28.")]


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
        topics=tuple(t for t in topics if t.strip()) if topics else None,
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
    """Add a newsletter.

    Everything but its slug has a default and can be changed later.

    \b
    syndicate newsletter add notes --title "Coastal Notes" --from-email notes@example.org \\
        --topic Tides --topic Birds --cadence weekly --weekday friday --at 07:30
    """  # noqa: D301 - \b keeps the example as it is
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
    """Change what is given; the rest stays.

    \b
    syndicate newsletter edit notes --weekday sunday --at 18:00
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.service.newsletters import NewsletterChanges, edit_newsletter

    changes = _changes(
        title, description, language, from_name, from_email, reply_to, postal_address, subject, topics,
        cadences, time_zone, uncertain, at, weekday, monthday,
    )  # fmt: skip
    if changes == NewsletterChanges():
        raise UsageError(f"newsletter edit {slug}: say what to change; --help lists what there is")
    with installation(ctx) as (inst, output):
        after = edit_newsletter(inst, slug, changes)
        output.result(after, lambda: output.line(f"Changed '{after.slug}'."))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show every newsletter and when its next editions open."""
    from syndicate.service.newsletters import list_newsletters

    with installation(ctx) as (inst, output):
        found = list_newsletters(inst)
        headings = ("slug", "title", "from", "topics", "next editions")
        nothing = "No newsletters yet: 'syndicate newsletter add SLUG' adds one."

        def show() -> None:
            rows = [(n.slug, n.title, n.from_email, ", ".join(n.topics), _next(inst, n)) for n in found]
            if rows:
                output.table(headings, rows)
            else:
                output.line(nothing)

        output.result(found, show)


@app.command()
def remove(ctx: typer.Context, slug: Slug, yes: Yes = False) -> None:
    """Delete a newsletter with its editions.

    Its subscriptions end; sources, articles and people stay.
    """
    from syndicate.service.newsletters import get_newsletter, remove_newsletter

    with installation(ctx) as (inst, output):
        newsletter = get_newsletter(inst, slug)
        output.confirm(f"Delete '{slug}' ({newsletter.title}) with its editions?", yes=yes)
        remove_newsletter(inst, slug)
        output.result(newsletter, lambda: output.line(f"Deleted '{slug}'."))


def _next(inst: Installation, newsletter: Newsletter) -> str:
    """When its editions of each cadence on offer open, the next one first, in its own zone."""
    from zoneinfo import ZoneInfo

    from syndicate.schedule.slots import find_next_slot
    from syndicate.service.newsletters import list_schedules

    zone = ZoneInfo(newsletter.time_zone)
    slots = sorted(
        (find_next_slot(s, zone, inst.clock()).at, s.cadence)
        for s in list_schedules(inst, newsletter.id)
        if s.cadence in newsletter.cadences
    )
    return ", ".join(f"{cadence} {at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}" for at, cadence in slots)
