"""The command that shows the whole job on sample content."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import globals_of
from syndicate.cli.signals import stop_signals

if TYPE_CHECKING:
    from syndicate.service.demonstration import Demonstration

__all__ = ["demo"]


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Do the job and exit; serve nothing.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to serve at; 0 for a free one.")
    ] = 8000,
) -> None:
    """Do the whole job on sample content and show it.

    Mail goes to a mailbox on this machine, which is served beside the newsletter. Leaves nothing behind.
    """
    from syndicate.schedule.clock import Clock
    from syndicate.service.demonstration import demonstrate, open_demonstration
    from syndicate.web.app import create_app
    from syndicate.web.server import open_socket, run

    output = globals_of(ctx).output
    with tempfile.TemporaryDirectory(prefix="syndicate-demo-") as folder:
        listening = None if once else open_socket("127.0.0.1", port)
        url = f"http://127.0.0.1:{listening.getsockname()[1] if listening else port}"
        with open_demonstration(Path(folder), url=url) as (inst, mails):
            made = demonstrate(inst, output.say)
            output.result(_summary(made), lambda: None)
            if listening is None:
                output.say("Done. 'syndicate demo' without --once shows it in a browser.")
                return
            output.say("")
            output.say(f"  {url}/{made.newsletter.slug}/   the newsletter: archive, feeds, subscribe form")
            output.say(f"  {url}/postbox/   the mails that were sent; subscribe, and yours arrives here")
            output.say("")
            output.say("Ctrl-C stops it and leaves nothing behind.")
            clock = Clock(inst)
            with stop_signals():
                try:
                    run(create_app(inst, postbox_folder=mails), listening, on_start=clock.start)
                finally:
                    clock.stop()


def _summary(made: Demonstration) -> dict[str, object]:
    return {
        "newsletter": made.newsletter.slug,
        "articles": made.collected.new,
        "feeds": made.feeds,
        "readers": made.readers,
        "edition": made.sent.edition.id,
        "state": made.sent.edition.state,
        "deliveries": made.sent.counts,
    }
