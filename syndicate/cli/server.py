"""The command that serves: web, schedule and sender in one process."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from syndicate.cli.context import installation
from syndicate.cli.signals import stop_signals

__all__ = ["serve"]


def serve(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen at; 0.0.0.0 for every one.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen at; 0 for a free one.")
    ] = 8000,
    no_schedule: Annotated[
        bool, typer.Option("--no-schedule", help="Web only: collect and send nothing.")
    ] = False,
) -> None:
    """Serve the site, collect and send by schedule.

    Feeds, archive and forms are behind your web server, or at this port as they are. Ctrl-C stops it.
    """
    from syndicate.cli.logs import configure_logs
    from syndicate.schedule.clock import Clock
    from syndicate.web.app import create_app
    from syndicate.web.server import open_socket, run

    with installation(ctx) as (inst, output):
        if not output.quiet:
            configure_logs(logging.INFO)
        app = create_app(inst)
        listening = open_socket(host, port)
        clock = Clock(inst)
        output.say(
            f"Serving {inst.settings.site.url} at http://{host}:{listening.getsockname()[1]}/. "
            "Ctrl-C stops it."
        )
        # The server hands a signal on when it has ended; without this it would end the process before the
        # window that is on its way is recorded.
        with stop_signals():
            try:
                run(app, listening, on_start=(lambda: None) if no_schedule else clock.start)
            finally:
                clock.stop()
