"""Use case: the whole main job once, on sample content and with an embedded mailbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from subscribers.transfer import Fate
from syndicate.deliver.postbox import Postbox
from syndicate.errors import OperationError
from syndicate.model import ANY_CADENCE, Newsletter
from syndicate.service.collecting import SourceReport, collect_due
from syndicate.service.editions import open_edition, plan_edition
from syndicate.service.feeds import refresh_feeds
from syndicate.service.installation import Installation, open_installation
from syndicate.service.newsletters import NewsletterChanges, edit_newsletter, list_newsletters
from syndicate.service.people import import_subscribers
from syndicate.service.sending import SendReport, send_edition
from syndicate.service.setup import initialise
from syndicate.service.sources import add_source

__all__ = ["Demonstration", "demonstrate", "open_demonstration"]

_SAMPLES: Final = Path(__file__).parent.parent / "samples"

_NEWSLETTER: Final = NewsletterChanges(
    description="Coasts, woods, craft and the night sky, for curious people.",
    from_email="letters@example.org",
    postal_address="Tide & Timber, 1 Harbour Street, Exampleton",
    topics=("Coast", "Woods", "Craft", "Night sky"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """What the main job came to."""

    newsletter: Newsletter
    collected: SourceReport
    feeds: int
    readers: int
    sent: SendReport


@contextmanager
def open_demonstration(folder: Path, *, url: str) -> Iterator[tuple[Installation, Path]]:
    """A new installation in an empty folder, whose relay is a mailbox on this machine; and that mailbox's
    folder. The mailbox listens as long as the context lasts.
    """
    mails = folder / "postbox"
    with Postbox(mails) as postbox:
        initialise(folder, title="Tide & Timber", url=url, source=None)
        config = folder / "syndicate.toml"
        host, port = postbox.address
        text = config.read_text("utf-8").replace('host = "localhost"', f'host = "{host}"')
        text = text.replace("port = 587", f"port = {port}").replace('tls = "starttls"', 'tls = "none"')
        config.write_text(text, "utf-8")
        with open_installation(config) as inst:
            yield inst, mails


def demonstrate(inst: Installation, say: Callable[[str], None]) -> Demonstration:
    """Collects the samples, publishes them, opens an edition and sends it; ``say`` hears of each step."""
    newsletter = edit_newsletter(inst, list_newsletters(inst)[0].slug, _NEWSLETTER)
    add_source(inst, str(_SAMPLES / "articles"), newsletter_slug=newsletter.slug, backfill="all")
    [collected] = collect_due(inst)
    say(f"collected  {collected.new} articles from a folder of Markdown, HTML and plain text")
    feeds = refresh_feeds(inst)
    say(f"published  {feeds} feeds (RSS, Atom and JSON, whole and by topic) and the archive")
    fates: list[Fate] = []
    import_subscribers(
        inst,
        _SAMPLES / "subscribers.csv",
        newsletter=newsletter,
        apply=True,
        statement="sample readers of the demo",
        on_line=lambda line: fates.append(line.fate),
    )
    readers = sum(fate is Fate.ADDED for fate in fates)
    say(f"imported   {readers} readers with their cadences and topics")
    planned = plan_edition(inst, newsletter, cadence=ANY_CADENCE)
    opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="demo", reason="demo")
    if planned is None or opened is None:
        raise OperationError("the demo found nothing new to send, which should not happen")
    say(f"opened     edition {opened.edition.id}: {opened.edition.subject}")
    sent = send_edition(inst, opened.edition.id)
    if sent.fault is not None:
        raise sent.fault
    say(f"sent       {sent.sent} mails by SMTP, in {len(planned.selections)} variants by readers' topics")
    return Demonstration(newsletter=newsletter, collected=collected, feeds=feeds, readers=readers, sent=sent)
