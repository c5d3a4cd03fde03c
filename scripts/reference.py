"""Writes the reference of commands, settings and addresses from the code itself, into docs/.

python scripts/reference.py            writes the pages
python scripts/reference.py --check    exits 1 if a page is not what the code says
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import typer
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from syndicate.cli.app import app
from syndicate.settings import Settings
from syndicate.web import (
    archive,
    confirm,
    feeds,
    health,
    postbox,
    preferences,
    static,
    subscribe,
    unsubscribe,
)

DOCS: Final = Path(__file__).parent.parent / "docs"
_NOTE: Final = "<!-- Written by 'make docs' from the code; change it there. -->\n\n"


def main(*, check: bool) -> int:
    """Writes or checks every page."""
    stale = []
    for name, text in pages().items():
        path = DOCS / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    for name in stale:
        print(f"docs/{name} is not what the code says; run 'make docs'", file=sys.stderr)
    return 1 if stale else 0


def pages() -> dict[str, str]:
    """Each page's text by its file name."""
    return {
        "commands.md": _NOTE + "\n".join(_commands()) + "\n",
        "settings.md": _NOTE + "\n".join(_settings()) + "\n",
        "addresses.md": _NOTE + "\n".join(_addresses()) + "\n",
    }


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield "# Commands\n"
    yield "`syndicate [OPTIONS] COMMAND`. Exit 0 done, 1 the operation failed, 2 usage or configuration"
    yield "error. With `--json` a command prints exactly one JSON document on stdout; messages go to"
    yield "stderr.\n"
    yield from _parameters(root)
    for name, command in root.commands.items():
        children = getattr(command, "commands", None)
        if children is None:
            yield from _command(name, command)
            continue
        for child_name, child in children.items():
            yield from _command(f"{name} {child_name}", child)


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = " ".join(_argument(p) for p in command.params if p.param_type_name == "argument")
    yield f"\n## `{name}{f' {arguments}' if arguments else ''}`\n"
    # An example that is to keep its lines begins with a backspace, as the command line's library has it.
    lines = re.compile(r"\x08\n((?:.+\n?)+)")
    text = lines.sub(lambda its: f"```\n{its[1].rstrip()}\n```\n", inspect.cleandoc(command.help or ""))
    yield f"{text}\n"
    yield from _parameters(command)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _parameters(command: Any) -> Iterator[str]:
    rows = [p for p in command.params if p.name != "help"]
    if not rows:
        return
    yield "| option | meaning |"
    yield "|---|---|"
    for parameter in rows:
        shown, meaning = parameter.get_help_record(_context(command)) or (parameter.name, "")
        yield f"| `{_cell(shown)}` | {_cell(meaning)} |"


def _context(command: Any) -> Any:
    return command.make_context("syndicate", [], resilient_parsing=True)


def _settings() -> Iterator[str]:
    yield "# Settings\n"
    yield "They come from `syndicate.toml`, then from the environment as `SYNDICATE_<SECTION>__<KEY>`, which"
    yield "goes first. Relative paths start at the configuration file's folder."
    for model in _models():
        title, _, what = (model.__doc__ or "").partition(": ")
        yield f"\n## {title}\n"
        yield f"{what[:1].upper()}{what[1:]}\n"
        yield "| key | default | meaning |"
        yield "|---|---|---|"
        for key, its in model.model_fields.items():
            meaning = _cell(its.description or "") + _choices(its.annotation)
            yield f"| `{key}` | {_default(its.default)} | {meaning} |"


def _models() -> Iterator[type[BaseModel]]:
    """The model of each section, once: relays with a name have the keys of [smtp]."""
    shown: set[type[BaseModel]] = set()
    for field in Settings.model_fields.values():
        # A section that is written once for each thing of its kind is a dict of them.
        model = (get_args(field.annotation) or (field.annotation,))[-1]
        if isinstance(model, type) and issubclass(model, BaseModel) and model not in shown:
            shown.add(model)
            yield model


def _default(value: object) -> str:
    if value in (None, "", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _choices(annotation: Any) -> str:
    words = [a for a in get_args(annotation) if isinstance(a, str)]
    return f" One of {', '.join(f'`{w}`' for w in words)}." if words else ""


def _addresses() -> Iterator[str]:
    yield "# Addresses\n"
    yield "What `serve` answers, below the site's own address. Pages need no JavaScript and set no cookie.\n"
    yield "| address | methods | what |"
    yield "|---|---|---|"
    rooms = (archive, feeds, subscribe, confirm, preferences, unsubscribe, static, health, postbox)
    for room in rooms:
        for route in room.ROUTES:
            yield from _address(route, demo=room is postbox)


def _address(route: BaseRoute, *, demo: bool) -> Iterator[str]:
    if not isinstance(route, Route):
        return
    endpoint = getattr(route.endpoint, "func", route.endpoint)
    summary = " ".join((inspect.getdoc(endpoint) or "").split())
    path = re.sub(r"\{(\w+)(:\w+)?\}", r"<\1>", route.path)
    where = " (demo only)" if demo else ""
    yield f"| `{path}` | {', '.join(sorted(route.methods or ()))} | {_cell(summary)}{where} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
