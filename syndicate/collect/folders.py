"""A folder of files to articles. The only module here that reads files; decides nothing about them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Final

from syndicate.collect.dates import plausible
from syndicate.collect.parse_html import parse_html
from syndicate.collect.parse_markdown import parse_markdown
from syndicate.collect.parse_text import parse_text
from syndicate.collect.parsed import distinct_articles, settle_dates
from syndicate.errors import CollectError, ParseError
from syndicate.model import ParsedArticle

__all__ = ["SETTLE_S", "FolderReading", "read_folder"]

MAX_BYTES: Final = 10 * 2**20
#: A file that was changed more recently may be half written.
SETTLE_S: Final = 2.0

_PARSERS: Final[dict[str, Callable[..., ParsedArticle | None]]] = {
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".html": parse_html,
    ".htm": parse_html,
    ".txt": parse_text,
}
_NOT_MEANT: Final = (".", "~", "#")  # hidden, and what editors and offices leave beside a file


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReading:
    """What a folder holds now."""

    title: str  #: the folder's name
    articles: tuple[ParsedArticle, ...]  #: by path
    problems: tuple[CollectError, ...]  #: files that could not be read; each names itself
    waiting: tuple[str, ...]  #: files that were changed a moment ago: read them next time


def read_folder(root: Path, *, zone: tzinfo, now: datetime) -> FolderReading:
    """The articles in a folder and its folders: Markdown, HTML and plain text.

    One broken file is a problem with its name and stops no other. Hidden, backup and temporary files, drafts
    and what lies outside of the folder behind a symbolic link are passed over. A guid is what the file's head
    says, else its path under ``root``. Raises CollectError if the folder itself cannot be read.
    """
    problems: list[CollectError] = []
    articles: list[ParsedArticle] = []
    waiting: list[str] = []
    for path in sorted(_iter_files(root, problems), key=lambda p: p.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        try:
            body = _read_file(path, name, now)
            if body is None:
                waiting.append(name)
                continue
            article = _PARSERS[path.suffix.lower()](body, path=name, zone=zone)
        except CollectError as error:
            problems.append(error)
            continue
        if article is not None:
            articles.append(settle_dates(article, partial(plausible, now=now)))
    return FolderReading(
        title=root.resolve().name or str(root),
        articles=distinct_articles(articles),
        problems=tuple(problems),
        waiting=tuple(waiting),
    )


def _iter_files(root: Path, problems: list[CollectError]) -> Iterator[Path]:
    """Every file that may hold an article. Never follows a link to a folder, so it ends."""
    if not root.is_dir():
        raise CollectError(str(root), "no_folder", "is no folder; was it moved or renamed?")
    inside = root.resolve()

    def note(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename))
        if place == root:
            raise CollectError(str(root), "unreadable", f"cannot be read: {_why(error)}")
        problems.append(
            CollectError(_shown(place.relative_to(root)), "unreadable", f"cannot be read: {_why(error)}")
        )

    for folder, folders, files in os.walk(root, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(_NOT_MEANT)]
        for name in files:
            path = Path(folder, name)
            if name.startswith(_NOT_MEANT) or path.suffix.lower() not in _PARSERS:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                continue
            if _shown(path.relative_to(root)) != path.relative_to(root).as_posix():
                problems.append(
                    CollectError(
                        _shown(path.relative_to(root)), "bad_name", "has a name that is not UTF-8; rename it"
                    )
                )
                continue
            yield path


def _read_file(path: Path, name: str, now: datetime) -> bytes | None:
    """The file's bytes, or None if it was changed a moment ago."""
    try:
        # Without O_NONBLOCK a pipe that lies in the folder would stop the collection for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ParseError(name, "no_file", "is no ordinary file")
            if status.st_size > MAX_BYTES:
                raise ParseError(name, "too_large", f"is larger than {MAX_BYTES // 2**20} MiB")
            changed_at = datetime.fromtimestamp(status.st_mtime, tz=UTC)
            if abs((now - changed_at).total_seconds()) < SETTLE_S:
                return None
            return file.read(MAX_BYTES)
    except OSError as error:
        raise CollectError(name, "unreadable", f"cannot be read: {_why(error)}") from None


def _shown(path: Path) -> str:
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _why(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
