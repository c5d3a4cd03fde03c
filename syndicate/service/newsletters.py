"""Use cases about newsletters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy.exc import IntegrityError

from subscribers.addresses import parse_address
from subscribers.errors import SubscribersError
from subscribers.model import Cadence
from subscribers.subscribing import end_subscriptions
from syndicate.digest.render import render_subject
from syndicate.errors import TemplateError, UsageError
from syndicate.model import Newsletter, Schedule, UncertainPolicy, slugify
from syndicate.publish.urls import RESERVED_SLUGS
from syndicate.service.installation import Installation
from syndicate.storage import newsletters
from syndicate.storage.engine import reading, writing

__all__ = [
    "NewsletterChanges",
    "add_newsletter",
    "choose_newsletter",
    "edit_newsletter",
    "get_newsletter",
    "list_newsletters",
    "list_schedules",
    "mark_slot",
    "remove_newsletter",
]

#: A subject says what is in the mail; the sender's name says already whose it is.
DEFAULT_SUBJECT: Final = "{{ lead }}{% if count > 1 %} and {{ count - 1 }} more{% endif %}"
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsletterChanges:
    """What an operator may set; None leaves a field as it is, or at its default for a new newsletter."""

    title: str | None = None
    description: str | None = None
    language: str | None = None
    from_name: str | None = None
    from_email: str | None = None
    reply_to: str | None = None
    postal_address: str | None = None
    subject_template: str | None = None
    topics: tuple[str, ...] | None = None
    cadences: tuple[Cadence, ...] | None = None
    time_zone: str | None = None
    uncertain_policy: UncertainPolicy | None = None
    send_at: str | None = None  #: "07:30", in the newsletter's zone
    weekday: str | None = None  #: for the weekly edition
    monthday: int | None = None  #: for the monthly edition, 1 to 28

    def fields(self) -> dict[str, Any]:
        """The fields of the newsletter that are set."""
        mine = {name: getattr(self, name) for name in self.__dataclass_fields__}
        schedule = {"send_at", "weekday", "monthday"}
        return {name: value for name, value in mine.items() if value is not None and name not in schedule}


def add_newsletter(inst: Installation, slug: str, changes: NewsletterChanges) -> Newsletter:
    """Adds a newsletter with its schedules. Raises UsageError for a slug that is taken or cannot be used."""
    if not _SLUG.fullmatch(slug):
        raise UsageError(f"slug '{slug}': use lower-case letters, digits and hyphens, as in 'weekly-notes'")
    if slug in RESERVED_SLUGS:
        raise UsageError(f"slug '{slug}' is the address of something else; choose another")
    now = inst.clock()
    defaults: dict[str, Any] = {
        "title": slug.replace("-", " ").capitalize(),
        "description": "",
        "language": "en",
        "from_email": f"{slug}@{_mail_domain(inst.urls.host)}",
        "reply_to": "",
        "postal_address": "",
        "subject_template": DEFAULT_SUBJECT,
        "topics": (),
        "cadences": (Cadence.WEEKLY, Cadence.DAILY, Cadence.IMMEDIATE, Cadence.MONTHLY),
        "time_zone": inst.settings.site.time_zone,
        "uncertain_policy": UncertainPolicy.RESEND,
    }
    values = defaults | changes.fields()
    values.setdefault("from_name", values["title"])
    _check(values)
    try:
        with writing(inst.engine) as conn:
            added = newsletters.add_newsletter(conn, now=now, slug=slug, **values)
            for entry in _schedules(added, changes, {}, now_local=_local(inst, added)):
                newsletters.put_schedule(conn, entry)
            return added
    except IntegrityError:
        raise UsageError(
            f"newsletter '{slug}' is there already; 'newsletter edit {slug}' changes it"
        ) from None


def edit_newsletter(inst: Installation, slug: str, changes: NewsletterChanges) -> Newsletter:
    """Changes what is set. Raises NotFound, or UsageError for a value that cannot be used."""
    _check(changes.fields())
    with writing(inst.engine) as conn:
        before = newsletters.get_newsletter(conn, slug)
        newsletters.edit_newsletter(conn, before.id, now=inst.clock(), **changes.fields())
        after = newsletters.get_newsletter(conn, slug)
        current = {s.cadence: s for s in newsletters.list_schedules(conn, before.id)}
        for entry in _schedules(after, changes, current, now_local=_local(inst, after)):
            newsletters.put_schedule(conn, entry)
        return after


def get_newsletter(inst: Installation, slug: str) -> Newsletter:
    """The newsletter of this slug. Raises NotFound, which names those that exist."""
    with reading(inst.engine) as conn:
        return newsletters.get_newsletter(conn, slug)


def choose_newsletter(inst: Installation, slug: str | None) -> Newsletter:
    """The newsletter of this slug, or the only one there is. Raises NotFound, UsageError if unclear."""
    if slug is not None:
        return get_newsletter(inst, slug)
    known = list_newsletters(inst)
    if not known:
        raise UsageError("there is no newsletter yet; 'syndicate newsletter add SLUG' makes one")
    if len(known) > 1:
        raise UsageError(
            f"which newsletter? add --newsletter SLUG; one of {', '.join(n.slug for n in known)}"
        )
    return known[0]


def list_newsletters(inst: Installation) -> list[Newsletter]:
    """Every newsletter, in the order in which they were added."""
    with reading(inst.engine) as conn:
        return newsletters.list_newsletters(conn)


def list_schedules(inst: Installation, newsletter_id: int | None = None) -> list[Schedule]:
    """When editions open: of one newsletter, or of all."""
    with reading(inst.engine) as conn:
        return newsletters.list_schedules(conn, newsletter_id)


def mark_slot(inst: Installation, newsletter: Newsletter, cadence: Cadence, local: str) -> None:
    """Notes that every slot up to this one has been dealt with."""
    with writing(inst.engine) as conn:
        newsletters.advance_schedule(conn, newsletter.id, cadence, to_local=local)


def remove_newsletter(inst: Installation, slug: str) -> None:
    """Deletes a newsletter with its editions and ends its subscriptions; the rest stays."""
    with writing(inst.engine) as conn:
        found = newsletters.get_newsletter(conn, slug)
        end_subscriptions(conn, found.id, now=inst.clock(), text=f"{found.title} was removed")
        newsletters.remove_newsletter(conn, found.id)


def _local(inst: Installation, newsletter: Newsletter) -> str:
    return inst.clock().astimezone(ZoneInfo(newsletter.time_zone)).strftime("%Y-%m-%dT%H:%M")


def _mail_domain(host: str) -> str:
    # The address of a machine is no domain for mail; the operator sets the sender before going public.
    return "localhost" if host.replace(".", "").isdigit() else host


def _check(values: Mapping[str, Any]) -> None:
    _check_addresses(values)
    for field in ("title", "from_name"):
        if not values.get(field, "").isprintable():
            raise UsageError(f"{field.replace('_', '-')}: use one line without control characters")
    if not _LANGUAGE.fullmatch(values.get("language", "en")):
        raise UsageError(
            f"unknown language '{values['language']}'; use a tag such as en, de or pt-BR (BCP 47)"
        )
    _check_topics(values.get("topics", ()))
    if "subject_template" in values:
        _check_subject(values["subject_template"])
    if "time_zone" in values:
        try:
            ZoneInfo(values["time_zone"])
        except (KeyError, ValueError, OSError):
            raise UsageError(
                f"unknown time zone '{values['time_zone']}'; use an IANA name such as Europe/Berlin"
            ) from None
    if not values.get("title", "x").strip():
        raise UsageError("title: must not be empty")
    if values.get("cadences") == ():
        raise UsageError("cadence: offer at least one")


def _check_addresses(values: Mapping[str, Any]) -> None:
    for field in ("from_email", "reply_to"):
        # Answers may go to the sender; mail from nobody may not go at all.
        if values.get(field) or (field == "from_email" and field in values):
            try:
                parse_address(values[field], allow_private=True)
            except SubscribersError as error:
                raise UsageError(f"{field.replace('_', '-')}: {error}") from None


def _check_topics(topics: tuple[str, ...]) -> None:
    labels: dict[str, str] = {}
    for label in topics:
        same = labels.setdefault(slugify(label), label)
        if same != label or topics.count(label) > 1:
            raise UsageError(f"topic '{label}' is the same as '{same}'; name it once")


def _check_subject(template: str) -> None:
    values: dict[str, str | int] = {"title": "Title", "lead": "An article", "count": 2, "date": "1 May 2026"}
    try:
        render_subject(template, values, place="subject")
    except TemplateError as error:
        raise UsageError(f"{error}; it may name title, lead, count and date") from None


def _schedules(
    newsletter: Newsletter,
    changes: NewsletterChanges,
    current: Mapping[Cadence, Schedule],
    *,
    now_local: str,
) -> list[Schedule]:
    hour_minute = _parse_time(changes.send_at) if changes.send_at is not None else None
    weekday = _parse_weekday(changes.weekday) if changes.weekday is not None else None
    if changes.monthday is not None and not 1 <= changes.monthday <= 28:
        raise UsageError(f"monthday {changes.monthday}: use 1 to 28, days that every month has")
    entries = []
    for cadence in (Cadence.DAILY, Cadence.WEEKLY, Cadence.MONTHLY):
        old = current.get(cadence)
        hour, minute = hour_minute or ((old.hour, old.minute) if old else (7, 0))
        is_weekly, is_monthly = cadence is Cadence.WEEKLY, cadence is Cadence.MONTHLY
        entries.append(
            Schedule(
                newsletter_id=newsletter.id,
                cadence=cadence,
                hour=hour,
                minute=minute,
                weekday=(weekday if weekday is not None else (old.weekday if old else 0))
                if is_weekly
                else None,
                monthday=(changes.monthday or (old.monthday if old else 1)) if is_monthly else None,
                # A schedule that was moved begins now: it must not find a slot of today in the past.
                after_local=old.after_local if old and not _moves(changes) else now_local,
            )
        )
    return entries


def _moves(changes: NewsletterChanges) -> bool:
    return any(
        value is not None for value in (changes.send_at, changes.weekday, changes.monthday, changes.time_zone)
    )


def _parse_time(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise UsageError(f"time '{text}': write it as 07:30")
    return int(match[1]), int(match[2])


def _parse_weekday(text: str) -> int:
    found = [n for n, name in enumerate(_WEEKDAYS) if len(text) >= 3 and name.startswith(text.lower())]
    if len(found) != 1:
        raise UsageError(f"unknown weekday '{text}'; one of {', '.join(_WEEKDAYS)}")
    return found[0]
