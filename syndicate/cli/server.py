"""The command that serves: web, schedule and sender in one process."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from syndicate.cli.context import globals_of, installation
from syndicate.cli.logs import configure_logs

__all__ = ["serve"]


def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    no_schedule: Annotated[
        bool, typer.Option("--no-schedule", help="Web only: collect and send nothing.")
    ] = False,
) -> None:
    """Serve feeds, archive and forms; collect, open editions and send by schedule. Ctrl-C stops it."""
    from syndicate.schedule.clock import Clock
    from syndicate.web.app import create_app
    from syndicate.web.server import open_socket, run

    if not globals_of(ctx).output.quiet:
        configure_logs(logging.INFO)
    with installation(ctx) as (inst, output):
        app = create_app(inst)
        listening = open_socket(host, port)
        clock = Clock(inst)
        output.say(
            f"Serving {inst.settings.site.url} at http://{host}:{listening.getsockname()[1]}/, Ctrl-C stops it"
        )
        try:
            run(app, listening, on_start=(lambda: None) if no_schedule else clock.start)
        finally:
            clock.stop()
