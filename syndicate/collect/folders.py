"""A folder of files to articles. Decides nothing about them, keeps nothing."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from syndicate.collect.dates import plausible
from syndicate.collect.folder_files import SETTLE_S, Unsettled, find_files, find_stamp, read_file
from syndicate.collect.images import KeptImage, Shelf
from syndicate.collect.parse_html import parse_html
from syndicate.collect.parse_markdown import parse_markdown
from syndicate.collect.parse_text import parse_text
from syndicate.collect.parsed import distinct_articles, settle_dates
from syndicate.errors import CollectError
from syndicate.model import FileStamp, ParsedArticle

__all__ = ["SETTLE_S", "FolderReading", "read_folder"]

_TEXT: Final = ".txt"
_PARSERS: Final = {
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".html": parse_html,
    ".htm": parse_html,
}
_SUFFIXES: Final = frozenset([_TEXT, *_PARSERS])
_NONE_KNOWN: Final[Mapping[str, FileStamp]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReading:
    """What a folder holds now."""

    title: str  #: the folder's name
    articles: tuple[ParsedArticle, ...]  #: of the files that were read, by path
    problems: tuple[CollectError, ...]  #: files that could not be read; each names itself
    waiting: tuple[str, ...]  #: files that were changed a moment ago: read them next time
    unread: tuple[str, ...]  #: guids of what is there still and was not read again
    stamps: Mapping[str, FileStamp]  #: to be noted: of the files that are not as they were known
    gone: tuple[str, ...]  #: known files that are there no more
    images: tuple[KeptImage, ...]  #: that the articles refer to; they are to be kept


def read_folder(
    root: Path,
    *,
    zone: tzinfo,
    now: datetime,
    known: Mapping[str, FileStamp] = _NONE_KNOWN,
    media_base: str = "",
) -> FolderReading:
    """The articles in a folder and its folders: Markdown, HTML and plain text.

    A file that is as it was ``known`` by time and size, or else by hash, is not parsed again, unless one of
    its images has changed. One broken file is a problem with its name and stops no other. Hidden, backup and
    temporary files, drafts and what lies outside of the folder behind a symbolic link are passed over. A guid
    is what the file's head says, else its path under ``root``. An image that is in the folder is referred to
    by ``media_base`` and its name; without a base such images are left out. Raises CollectError if the folder
    itself cannot be read.
    """
    problems: list[CollectError] = []
    files = find_files(root, _SUFFIXES, problems)
    reader = _Reader(root, zone, now, known, Shelf(root, media_base=media_base, now=now), problems)
    same = {name for name, status in files.items() if reader.is_same(name, status)}
    reader.read(files.keys() - same)
    rivals = reader.find_rivals(same)
    reader.read(rivals, must_parse=True)
    return FolderReading(
        title=root.resolve().name or str(root),
        articles=distinct_articles([reader.articles[name] for name in sorted(reader.articles)]),
        problems=tuple(sorted(problems, key=lambda problem: problem.location)),
        waiting=tuple(sorted(reader.waiting)),
        unread=reader.list_unread(files),
        stamps=reader.stamps,
        gone=tuple(sorted(known.keys() - files.keys())),
        images=reader.shelf.images,
    )


class _Reader:
    """Reads files, and notes what they were like."""

    def __init__(
        self,
        root: Path,
        zone: tzinfo,
        now: datetime,
        known: Mapping[str, FileStamp],
        shelf: Shelf,
        problems: list[CollectError],
    ) -> None:
        self.root, self.zone, self.now, self.known = root, zone, now, known
        self.shelf, self.problems = shelf, problems
        self.articles: dict[str, ParsedArticle] = {}
        self.stamps: dict[str, FileStamp] = {}
        self.waiting: list[str] = []

    def is_same(self, name: str, status: os.stat_result) -> bool:
        stamp = self.known.get(name)
        if stamp is None or stamp.mtime_ns != status.st_mtime_ns or stamp.size != status.st_size:
            return False
        return not stamp.images or self._has_same_images(stamp)

    def _has_same_images(self, stamp: FileStamp) -> bool:
        return all(find_stamp(self.root, image) == (at, size) for image, at, size in stamp.images)

    def read(self, names: Iterable[str], *, must_parse: bool = False) -> None:
        for name in sorted(names):
            try:
                self._read(name, must_parse=must_parse)
            except Unsettled:
                self.waiting.append(name)
            except CollectError as error:
                self.problems.append(error)

    def _read(self, name: str, *, must_parse: bool) -> None:
        body, status = read_file(self.root, name, now=self.now)
        stamp = FileStamp(
            mtime_ns=status.st_mtime_ns,
            size=status.st_size,
            content_hash=hashlib.sha256(body).hexdigest(),
        )
        before = self.known.get(name)
        if before and before.content_hash == stamp.content_hash and self._has_same_images(before):
            self.stamps[name] = replace(before, mtime_ns=stamp.mtime_ns, size=stamp.size)
            if not must_parse:
                return
        article, images = self._parse(name, body)
        if article is not None:
            self.articles[name] = article
        guid = article.guid if article is not None else ""
        self.stamps[name] = replace(stamp, guid=guid, images=images)

    def _parse(self, name: str, body: bytes) -> tuple[ParsedArticle | None, tuple[tuple[str, int, int], ...]]:
        suffix = PurePosixPath(name).suffix.lower()
        images = self.shelf.of_article(name)
        if suffix == _TEXT:
            article: ParsedArticle | None = parse_text(body, path=name, zone=self.zone)
        else:
            article = _PARSERS[suffix](body, path=name, zone=self.zone, place_image=images.place)
        if article is None:
            return None, ()
        note = "; ".join(filter(None, [article.note, *images.problems.values()]))
        article = settle_dates(replace(article, note=note), partial(plausible, now=self.now))
        return article, tuple(images.stamps.values())

    def find_rivals(self, same: Iterable[str]) -> list[str]:
        """Files that are as they were, and that only a look at all of them tells apart: they share a guid
        with another, or have, or had, the same bytes as another.
        """
        now = {name: self.known[name] for name in same} | self.stamps
        guids = Counter(stamp.guid for stamp in now.values() if stamp.guid)
        contents = Counter(stamp.content_hash for stamp in self.known.values())
        contents.update(s.content_hash for n, s in now.items() if s.content_hash != self._hash_before(n))
        return [
            name
            for name, stamp in now.items()
            if name not in self.articles and (guids[stamp.guid] > 1 or contents[stamp.content_hash] > 1)
        ]

    def _hash_before(self, name: str) -> str:
        stamp = self.known.get(name)
        return stamp.content_hash if stamp is not None else ""

    def list_unread(self, files: Iterable[str]) -> tuple[str, ...]:
        guids = {stamp.guid for name in files if (stamp := self.stamps.get(name) or self.known.get(name))}
        return tuple(sorted(guids - {article.guid for article in self.articles.values()} - {""}))
