"""The head of a Markdown file: YAML between ``---`` or TOML between ``+++``. Reads no file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import yaml

from syndicate.errors import ParseError

__all__ = ["FrontMatter", "split_front_matter"]

LIMIT_BYTES: Final = 16_384

_BLOCK: Final = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)(?:^|\n)\1[ \t]*(?:\n|\Z)", re.DOTALL)
_KEY: Final = re.compile(r"\s*[\w-]+\s*[:=]")
_KEY_AT_START: Final = re.compile(r"[\"']?([\w-]+)[\"']?\s*[:=]")
_TOML_LINE: Final = re.compile(r"at line (\d+)")
_EMPTY: Final = frozenset(["", "~", "null"])
_TRUE: Final = frozenset(["true", "yes", "on", "1"])
_FALSE: Final = frozenset(["false", "no", "off", "0"])

#: Names that other tools give to the same thing; the first one is ours.
_NAMES: Final = {
    "author": ("author", "authors"),
    "canonical_url": ("canonical_url", "canonical", "link", "url"),
    "date": ("date", "published", "pubdate", "publishdate", "published_at", "created"),
    "draft": ("draft",),
    "status": ("status",),
    "id": ("id", "guid"),
    "image": ("image", "cover", "cover_image", "featured_image"),
    "lang": ("lang", "language"),
    "summary": ("summary", "description", "excerpt"),
    "tags": ("tags", "categories", "category", "keywords"),
    "title": ("title",),
    "updated": ("updated", "lastmod", "modified", "updated_at", "last_modified_at"),
}


class _AliasError(Exception):
    """An alias at a line, counted from 0."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(line)


class _TextLoader(yaml.BaseLoader):
    """YAML in which every scalar is text: ``lang: no`` is Norwegian, not False, and 2024 is a title."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            # A few aliases of aliases make gigabytes out of a line.
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
            raise _AliasError(event.start_mark.line if event.start_mark else 0)
        return super().compose_node(parent, index)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMatter:
    """What stands in the head of a file, by our own names."""

    values: Mapping[str, Any]
    lines: Mapping[str, int]  #: of the file, by key

    def text(self, name: str) -> str:
        """A value as text; empty if it is missing, empty, or no single value."""
        return _as_text(self.values.get(self._key(name)))

    def line(self, name: str) -> int:
        """The line of the file in which a value stands; 1 if it is missing."""
        return self.lines.get(self._key(name), 1)

    def words(self, name: str) -> tuple[str, ...]:
        """All that stands under the names of a list, as texts; a text with commas is a list too."""
        values = [self.values.get(key) for key in _NAMES[name]]
        parts = [p for v in values for p in (v if isinstance(v, list) else _as_text(v).split(","))]
        return tuple(text for text in (_as_text(part).strip() for part in parts) if text)

    def people(self) -> tuple[dict[str, str], ...]:
        """The authors, each with at least a name: texts, or tables of name, email and url."""
        value = self.values.get(self._key("author"))
        people = [
            {key: _as_text(person.get(key)) for key in ("name", "email", "url")}
            if isinstance(person, dict)
            else {"name": _as_text(person)}
            for person in (value if isinstance(value, list) else [value])
        ]
        return tuple(person for person in people if person["name"])

    @property
    def is_draft(self) -> bool:
        """Whether the author has not finished: ``draft: true``, ``published: false`` or ``status: draft``."""
        is_withheld = _as_text(self.values.get("published")).lower() in _FALSE
        is_named = self.text("status").lower() == "draft"
        return is_withheld or is_named or self.text("draft").lower() in _TRUE

    def _key(self, name: str) -> str:
        """The key under which a value stands. One that says whether it is published is no date."""
        said = (key for key in _NAMES[name] if self.values.get(key) is not None)
        switch = _TRUE | _FALSE if name == "date" else frozenset[str]()
        return next((key for key in said if _as_text(self.values[key]).lower() not in switch), "")


def split_front_matter(text: str, *, path: str) -> tuple[FrontMatter, str]:
    """The head of a Markdown text and what follows it. Raises ParseError that names file and line."""
    found = _BLOCK.match(text)
    if found is None:
        if text.startswith(("---\n", "+++\n")) and re.match(r"(---|\+\+\+)\n[\w-]+\s*[:=]", text):
            raise ParseError(path, "front_matter", f"line 1: the front matter is not closed by '{text[:3]}'")
        return FrontMatter(values={}, lines={}), text
    fence, block = found.group(1), found.group(2)
    if block.startswith("\n") and not _KEY.match(block):
        return FrontMatter(values={}, lines={}), text  # two rules with prose between them
    if len(block.encode()) > LIMIT_BYTES:
        raise ParseError(path, "front_matter", f"line 1: the front matter is larger than {LIMIT_BYTES} bytes")
    values = _read_yaml(block, path) if fence == "---" else _read_toml(block, path)
    head = FrontMatter(values={str(k).lower(): v for k, v in values.items()}, lines=_lines(block))
    return head, text[found.end() :]


def _lines(block: str) -> dict[str, int]:
    keys = ((n, _KEY_AT_START.match(line)) for n, line in enumerate(block.split("\n"), start=2))
    return {key.group(1).lower(): n for n, key in keys if key}


def _read_yaml(block: str, path: str) -> dict[str, Any]:
    loader = _TextLoader(block)
    try:
        values = loader.get_single_data()
    except _AliasError as error:
        detail = f"line {error.line + 2}: YAML aliases are not allowed; write the value again"
        raise ParseError(path, "front_matter", detail) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise ParseError(path, "front_matter", f"line {line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ParseError(path, "front_matter", "line 1: the front matter is no YAML") from None
    finally:
        loader.dispose()
    if values is None or values == "":
        return {}
    if not isinstance(values, dict):
        raise ParseError(path, "front_matter", "line 2: the front matter has to be lines like 'title: ...'")
    return values


def _read_toml(block: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(block)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        line = int(found.group(1)) + 1 if found else block.count("\n") + 2
        detail = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
        raise ParseError(path, "front_matter", f"line {line}: {detail}") from None
    except RecursionError:
        raise ParseError(path, "front_matter", "line 1: the front matter nests too deep") from None


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str | int | float):
        text = str(value).strip()
        return "" if text in _EMPTY else text
    return ""
