"""Commands about the keys that mail is signed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syndicate.cli.context import command_group, globals_of
from syndicate.cli.output import Output

if TYPE_CHECKING:
    from syndicate.service.signing import DkimKeyFile

__all__ = ["app"]

app = command_group("Keys that mail is signed with, so that receivers know it is yours.")


@app.command()
def generate(
    ctx: typer.Context,
    domain: Annotated[
        str | None,
        typer.Option(metavar="D", help="What stands after the @ of From; that of [dkim] if left out."),
    ] = None,
    selector: Annotated[
        str | None,
        typer.Option(metavar="S", help="Name of the key in DNS; made of today's date if left out."),
    ] = None,
    ed25519: Annotated[
        bool, typer.Option("--ed25519", help="A key for a second signature, shorter than RSA's.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; beside the configuration file if left out."),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(min=1024, max=4096, metavar="N", help="Size of an RSA key; 2048 if left out."),
    ] = None,
) -> None:
    """Make a key and say what to publish in DNS.

    A key that is there already is never written over. To change keys, publish the new record first, and keep
    the old one until the last mail that was signed with it has arrived.

    \b
    syndicate dkim generate --domain example.org
    """  # noqa: D301 - \b keeps the example as it is
    from syndicate.deliver.dkim_keys import KeyKind
    from syndicate.service.installation import utc_now
    from syndicate.service.signing import generate_key
    from syndicate.settings import load_settings

    given = globals_of(ctx)
    made = generate_key(
        load_settings(given.config),
        KeyKind.ED25519 if ed25519 else KeyKind.RSA,
        domain=domain,
        selector=selector,
        file=out,
        bits=bits,
        now=utc_now(),
    )
    given.output.result(made, lambda: _show_made(given.output, made))


@app.command()
def show(ctx: typer.Context) -> None:
    """Show what DNS has to say about the keys in use."""
    from syndicate.service.signing import list_keys
    from syndicate.settings import load_settings

    given = globals_of(ctx)
    keys = list_keys(load_settings(given.config))
    given.output.result(keys, lambda: _show_records(given.output, keys))


def _show_made(output: Output, made: DkimKeyFile) -> None:
    output.line(f"Made {made.file}, which only you can read: keep it so.")
    output.line()
    output.line("Publish this in DNS:")
    _show_record(output, made)
    output.line()
    output.line("Once it can be seen there, put this into syndicate.toml:")
    output.line("  [dkim]")
    for name, value in made.settings.items():
        output.line(f"  {name} = {json.dumps(value, ensure_ascii=False)}")


def _show_records(output: Output, keys: tuple[DkimKeyFile, ...]) -> None:
    for n, key in enumerate(keys):
        if n:
            output.line()
        output.line(f"{key.algorithm}, {key.file}")
        _show_record(output, key)


def _show_record(output: Output, key: DkimKeyFile) -> None:
    output.line("  type   TXT")
    output.line(f"  name   {key.record.name}")
    for n, text in enumerate(key.record.strings):
        output.line(f'  {"" if n else "value":5}  "{text}"')
    if len(key.record.strings) > 1:
        output.line("  A form that asks for the value as one takes the pieces joined, without the quotes.")
