"""The files of a folder: found, and read without ever leaving it. Knows no format of articles."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from syndicate.errors import CollectError, ParseError

__all__ = ["MAX_BYTES", "SETTLE_S", "Unsettled", "find_files", "find_stamp", "is_meant", "read_file"]

MAX_BYTES: Final = 10 * 2**20
#: A file that was changed more recently may be half written.
SETTLE_S: Final = 2.0

_NOT_MEANT: Final = (".", "~", "#")  # hidden, and what editors and offices leave beside a file


class Unsettled(Exception):
    """A file was changed a moment ago: read it next time."""


def find_files(
    root: Path, suffixes: Collection[str], problems: list[CollectError]
) -> dict[str, os.stat_result]:
    """The files with one of these suffixes in a folder and its folders, by their path under it.

    Hidden, backup and temporary files are passed over, and links that lead out of the folder; a link to a
    folder is never followed, so it ends. What cannot be read, or named in UTF-8, is added to ``problems``.
    Raises CollectError if that is the folder itself.
    """
    if not root.is_dir():
        raise CollectError(str(root), "no_folder", "is no folder; was it moved or renamed?")
    search = _Search(os.path.realpath(root), suffixes, problems)
    while search.folders:
        folder = search.folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(_NOT_MEANT):
                        search.sort_in(entry, folder + entry.name)
        except OSError as error:
            place = _shown(folder.rstrip("/")) or str(root)
            problem = CollectError(place, "unreadable", f"cannot be read: {_why(error)}")
            if not folder:
                raise problem from None
            problems.append(problem)
    return search.found


def read_file(
    root: Path, name: str, *, now: datetime, max_bytes: int = MAX_BYTES
) -> tuple[bytes, os.stat_result]:
    """The bytes of a file by its path under the folder, and its state when they were read.

    Raises CollectError if it cannot be read, is larger than ``max_bytes``, no ordinary file, or outside of
    the folder; Unsettled if it was changed a moment before ``now``.
    """
    path = os.path.realpath(root / name)
    if not Path(path).is_relative_to(os.path.realpath(root)):
        raise ParseError(name, "outside", "is outside of the folder")
    try:
        # Without O_NONBLOCK a pipe that lies in the folder would stop the collection for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ParseError(name, "no_file", "is no ordinary file")
            if status.st_size > max_bytes:
                raise ParseError(name, "too_large", f"is larger than {max_bytes // 2**20} MiB")
            changed_at = datetime.fromtimestamp(status.st_mtime, tz=UTC)
            if abs((now - changed_at).total_seconds()) < SETTLE_S:
                raise Unsettled
            return file.read(max_bytes), status
    except OSError as error:
        raise CollectError(name, "unreadable", f"cannot be read: {_why(error)}") from None


def find_stamp(root: Path, name: str) -> tuple[int, int]:
    """By what a change of a file is noticed: its time of change in ns and its size; 0, 0 if it is missing."""
    try:
        status = os.stat(root / name)  # noqa: PTH116 - a Path costs ten times more
    except (OSError, ValueError):
        return 0, 0
    return status.st_mtime_ns, status.st_size


def is_meant(name: str) -> bool:
    """Whether no part of a path is hidden, a backup, or a temporary file."""
    return not any(part.startswith(_NOT_MEANT) for part in name.split("/"))


class _Search:
    """What has been found of a folder, and which folders in it are still to be looked at."""

    def __init__(self, inside: str, suffixes: Collection[str], problems: list[CollectError]) -> None:
        self.inside, self.suffixes, self.problems = inside, suffixes, problems
        self.found: dict[str, os.stat_result] = {}
        self.folders = [""]

    def sort_in(self, entry: os.DirEntry[str], name: str) -> None:
        """Puts an entry where it belongs: to the files, the folders or the problems, or nowhere."""
        if entry.is_dir(follow_symlinks=False):
            self.folders.append(f"{name}/")
            return
        if os.path.splitext(name)[1].lower() not in self.suffixes:  # noqa: PTH122 - a Path costs ten times more
            return
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(self.inside):
            return
        if not name.isascii() and _shown(name) != name:
            self._note(_shown(name), "bad_name", "has a name that is not UTF-8; rename it")
            return
        try:
            self.found[name] = entry.stat()
        except OSError as error:
            self._note(name, "unreadable", f"cannot be read: {_why(error)}")

    def _note(self, name: str, reason: str, detail: str) -> None:
        self.problems.append(CollectError(name, reason, detail))


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _why(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()
