"""The program: global options, every command's place, and how an error ends it.

Exit 0 done, 1 the operation failed, 2 usage or configuration error. Commands import the use cases that they
need themselves, so that ``--help`` stays quick.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from subscribers.errors import SubscribersError
from syndicate import __version__
from syndicate.cli import demo, dkim, edition, newsletter, sending, server, setup, site, source, subscriber
from syndicate.cli.context import Globals
from syndicate.cli.output import Output
from syndicate.errors import SyndicateError, UsageError

__all__ = ["app", "main"]

#: What typer raises for a wrong call; of its family it exports only this child.
_WRONG_CALL: Final[Any] = typer.BadParameter.__bases__[0]
_FLAGS: Final = frozenset({"--json", "-q", "--quiet", "-v", "--verbose"})
_INTERRUPTED: Final = 130

app = typer.Typer(
    help="""Collects what a publication publishes and delivers it: feeds, a web archive, digests by mail.

    Begin with 'syndicate demo' to see it work, or with 'syndicate init' to make your own.
    """,
    epilog="--config, --json, -q and -v may also stand after the command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command()(setup.init)
app.command()(demo.demo)
app.command()(site.collect)
app.command()(site.publish)
app.command()(sending.preview)
app.command()(sending.send)
app.command()(server.serve)
app.command()(setup.migrate)
app.add_typer(source.app, name="source")
app.add_typer(newsletter.app, name="newsletter")
app.add_typer(subscriber.app, name="subscriber")
app.add_typer(edition.app, name="edition")
app.add_typer(dkim.app, name="dkim")


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        typer.echo(f"syndicate {__version__}")
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
    ctx.obj = Globals(config=config, output=Output(as_json=as_json, quiet=quiet), is_verbose=verbose)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits; never shows a traceback for an error that has a name."""
    given = _globals_first(sys.argv[1:] if args is None else args)
    as_json = "--json" in given
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a title may have what a terminal has not
    try:
        code = app(given, prog_name="syndicate", standalone_mode=False) or 0
        sys.stdout.flush()
        if code == _INTERRUPTED:
            raise KeyboardInterrupt  # noqa: TRY301 - typer has made a code of it
    except _WRONG_CALL as error:
        error.show()
        _fail(error.format_message(), 2, as_json=as_json, is_told=True)
    except (UsageError, SubscribersError) as error:
        _fail(str(error), 2, as_json=as_json)
    except SyndicateError as error:
        _fail(str(error), 1, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", _INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 1, as_json=as_json)
    raise SystemExit(code)


def _globals_first(args: Sequence[str]) -> list[str]:
    """The arguments with the global options at their front, wherever they stood before a ``--``."""
    end = args.index("--") if "--" in args else len(args)
    ahead: list[str] = []
    rest: list[str] = []
    words = iter(args[:end])
    for word in words:
        if word in _FLAGS or word.startswith("--config="):
            ahead.append(word)
        elif word == "--config":
            ahead += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            rest.append(word)
    return [*ahead, *rest, *args[end:]]


def _fail(message: str, code: int, *, as_json: bool, is_told: bool = False) -> NoReturn:
    if not is_told:
        typer.echo(f"syndicate: {message}".replace("\n", "\nsyndicate: "), err=True)
    if as_json:
        typer.echo(json.dumps({"error": message}, ensure_ascii=False))
    raise SystemExit(code)
