"""The program: global options, every command's place, and how an error ends it.

Exit 0 done, 1 the operation failed, 2 usage or configuration error. Commands import the use cases that they
need themselves, so that ``--help`` stays quick.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from subscribers.errors import SubscribersError
from syndicate import __version__
from syndicate.cli import demo, edition, newsletter, sending, server, setup, site, source, subscriber
from syndicate.cli.context import Globals
from syndicate.cli.logs import configure_logs
from syndicate.cli.output import Output
from syndicate.errors import SyndicateError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Collects what a publication publishes and delivers it: feeds, a web archive, digests by mail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for name, group in (
    ("source", source.app),
    ("newsletter", newsletter.app),
    ("edition", edition.app),
    ("subscriber", subscriber.app),
):
    app.add_typer(group, name=name)
for command in (
    setup.init,
    setup.migrate,
    demo.demo,
    site.collect,
    site.publish,
    sending.preview,
    sending.send,
    server.serve,
):
    app.command()(command)


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        print(f"syndicate {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _globals(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; ./syndicate.toml if left out.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what happens, event by event.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    configure_logs(logging.INFO if verbose else logging.ERROR)
    ctx.obj = Globals(config=config, output=Output(as_json=as_json, quiet=quiet), verbose=verbose)


def main() -> None:
    """Runs the command line; never shows a traceback for an error that has a name."""
    try:
        app()
    except (SyndicateError, SubscribersError) as error:
        _fail(error)
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _fail(error: SyndicateError | SubscribersError) -> None:
    print(f"syndicate: {error}".replace("\n", "\nsyndicate: "), file=sys.stderr)  # noqa: T201
    if "--json" in sys.argv:
        print(json.dumps({"error": str(error)}, ensure_ascii=False))  # noqa: T201
    raise SystemExit(2 if isinstance(error, UsageError | SubscribersError) else 1)
