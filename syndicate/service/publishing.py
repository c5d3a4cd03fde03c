"""Use case: write the public site as files that any web server can serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from syndicate.errors import NotFound, UsageError
from syndicate.model import Newsletter
from syndicate.publish.formats import FORMATS
from syndicate.publish.static import STATIC_NAMES, read_static
from syndicate.service import archive
from syndicate.service.feeds import get_feed, list_topics
from syndicate.service.installation import Installation
from syndicate.service.media import list_media, media_file
from syndicate.storage import articles, editions, newsletters
from syndicate.storage.engine import reading

__all__ = ["Exported", "export_site"]

#: Names what an export wrote, so that the next one removes what is gone and touches nothing of others.
_MANIFEST: Final = ".syndicate-files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export came to."""

    total: int
    changed: int  #: written now; the others were there with the same bytes
    removed: int


def export_site(inst: Installation, folder: Path) -> Exported:
    """Writes feeds, archive and assets below a folder; again, it touches only what has changed.

    Forms and their answers need ``serve`` and are not part of it. Raises UsageError for a folder that
    cannot be written to.
    """
    changed, names = 0, set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files(inst):
            names.add(name)
            changed += _write(folder / name, content)
        removed = _remove_gone(folder, names)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}") from None
    return Exported(total=len(names), changed=changed, removed=removed)


def _files(inst: Installation) -> Iterator[tuple[str, bytes]]:
    urls = inst.urls
    yield _file_name(inst, urls.home()), archive.home_page(inst).encode()
    for name in STATIC_NAMES:
        yield _file_name(inst, urls.static(name)), read_static(inst.templates, name)
    for name in list_media(inst):
        yield _file_name(inst, urls.media(name)), media_file(inst, name)[0].read_bytes()
    with reading(inst.engine) as conn:
        known = newsletters.list_newsletters(conn)
    for newsletter in known:
        yield from _newsletter_files(inst, newsletter)


def _newsletter_files(inst: Installation, newsletter: Newsletter) -> Iterator[tuple[str, bytes]]:
    slug, urls = newsletter.slug, inst.urls
    with reading(inst.engine) as conn:
        topics = list_topics(conn, newsletter)
        article_ids = articles.list_article_ids(conn, newsletter.id)
        public = editions.list_editions(conn, newsletter_id=newsletter.id, states=archive.PUBLIC)
    yield from _list_files(inst, urls.newsletter(slug), partial(archive.newsletter_page, inst, slug))
    yield from _list_files(inst, urls.editions(slug), partial(archive.editions_page, inst, slug))
    for made_name, made in FORMATS.items():
        yield _file_name(inst, urls.feed(slug, made.path_suffix)), get_feed(inst, slug, made_name).body
    for topic in topics:
        yield from _list_files(inst, urls.topic(slug, topic), partial(archive.topic_page, inst, slug, topic))
        for made_name, made in FORMATS.items():
            path = urls.topic_feed(slug, topic, made.path_suffix)
            yield _file_name(inst, path), get_feed(inst, slug, made_name, topic).body
    for article_id in article_ids:
        html, path = archive.article_page(inst, slug, article_id)
        yield _file_name(inst, f"{path}/"), html.encode()
    for edition in public:
        html = archive.edition_page(inst, slug, edition.id)
        yield _file_name(inst, f"{urls.edition(slug, edition.id)}/"), html.encode()


def _list_files(inst: Installation, path: str, render: Callable[[int], str]) -> Iterator[tuple[str, bytes]]:
    """A list's pages, as many as there are."""
    for number in count(1):
        try:
            html = render(number)
        except NotFound:
            return
        yield _file_name(inst, inst.urls.page(path, number)), html.encode()


def _file_name(inst: Installation, path: str) -> str:
    """Where a path's file is: a path that ends in a slash is a folder's index."""
    prefix = urlsplit(inst.settings.site.url).path.rstrip("/")
    name = unquote(path.removeprefix(prefix)).lstrip("/")
    return f"{name}index.html" if not name or name.endswith("/") else name


def _write(path: Path, content: bytes) -> bool:
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads meanwhile sees the old file or the new one, never half of one.
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)
    return True


def _remove_gone(folder: Path, names: set[str]) -> int:
    manifest = folder / _MANIFEST
    before = set(manifest.read_text("utf-8").splitlines()) if manifest.exists() else set()
    gone = [name for name in before - names if (folder / name).resolve().is_relative_to(folder.resolve())]
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    _write(manifest, "".join(f"{name}\n" for name in sorted(names)).encode())
    return len(gone)
