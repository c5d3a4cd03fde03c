"""Images that articles of a folder show: found beside them, and known by the hash of their bytes.

Keeps and serves none: who calls this stores each one under its name. No SVG, for it can hold scripts.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from syndicate.collect.folder_files import find_stamp, is_meant, read_file
from syndicate.errors import CollectError, ParseError

__all__ = ["ArticleImages", "KeptImage", "Shelf"]

_LARGEST: Final = 10 * 2**20  # bytes
_KINDS: Final = "PNG, JPEG, GIF, WebP or AVIF"
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", ".png", "image/png"),
    (b"\xff\xd8\xff", ".jpg", "image/jpeg"),
    (b"GIF87a", ".gif", "image/gif"),
    (b"GIF89a", ".gif", "image/gif"),
)
_AVIF_BRANDS: Final = frozenset([b"avif", b"avis"])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """An image that an article shows."""

    name: str  #: SHA-256 of its bytes as hex, with the suffix of its kind
    path: Path
    media_type: str


class Shelf:
    """The images of one folder, each read once. ``media_base`` is the URL under which they are served; empty
    if they are not, and then none is read.
    """

    def __init__(self, root: Path, *, media_base: str, now: datetime) -> None:
        self._root, self._now = root, now
        self.media_base = media_base
        self._found: dict[str, KeptImage | None] = {}
        self._problems: dict[str, str] = {}

    @property
    def images(self) -> tuple[KeptImage, ...]:
        """What was taken, each once, by name."""
        images = {image.name: image for image in self._found.values() if image is not None}
        return tuple(images[name] for name in sorted(images))

    def of_article(self, name: str) -> ArticleImages:
        """The images of the article in this file."""
        return ArticleImages(shelf=self, folder=posixpath.dirname(name))

    def stamp(self, name: str) -> tuple[str, int, int]:
        """The name of a file with that by which a change of it is noticed."""
        return (name, *find_stamp(self._root, name))

    def find(self, name: str) -> KeptImage | None:
        """The image in a file, or None if there is none that may be kept."""
        if name not in self._found:
            try:
                self._found[name] = self._read(name)
            except CollectError as error:
                self._found[name] = None
                if error.reason != "unreadable":  # mostly, it is not there; its article says so anyway
                    self._problems[name] = str(error)
        return self._found[name]

    def problem(self, name: str) -> str:
        """Why a file that is there cannot be kept, or empty."""
        return self._problems.get(name, "")

    def _read(self, name: str) -> KeptImage:
        body, _ = read_file(self._root, name, now=self._now, max_bytes=_LARGEST)
        suffix, media_type = _kind(body)
        if not suffix:
            raise ParseError(name, "no_image", f"is no {_KINDS}")
        digest = hashlib.sha256(body).hexdigest()
        return KeptImage(name=digest + suffix, path=self._root / name, media_type=media_type)


@dataclass(slots=True, kw_only=True)
class ArticleImages:
    """What one article shows."""

    shelf: Shelf
    folder: str  #: of the article, under the root
    stamps: dict[str, tuple[str, int, int]] = field(default_factory=dict)  #: of what it refers to
    problems: dict[str, str] = field(default_factory=dict)  #: of what is there and cannot be kept

    def place(self, address: str) -> str:
        """The URL of the image that an article refers to, or empty if it is not in the folder.

        An address without a host means a file beside the article, or, if it begins with a slash, one under
        the root. Raises Unsettled if the image was changed a moment ago.
        """
        name = self._name(address) if self.shelf.media_base else ""
        if not name:
            return ""
        self.stamps[name] = self.shelf.stamp(name)
        image = self.shelf.find(name)
        if problem := self.shelf.problem(name):
            self.problems[name] = problem
        return f"{self.shelf.media_base}{image.name}" if image is not None else ""

    def _name(self, address: str) -> str:
        try:
            parts = urlsplit(address.strip())
        except ValueError:
            return ""
        path = unquote(parts.path)
        if parts.scheme or parts.netloc or not path or "\x00" in path:
            return ""
        name = posixpath.normpath(path.lstrip("/") if path[0] == "/" else posixpath.join(self.folder, path))
        return name if is_meant(name) else ""  # what leads upwards begins with a dot


def _kind(body: bytes) -> tuple[str, str]:
    """The suffix and the media type of an image by its first bytes; empty if it is none that is kept."""
    for signature, suffix, media_type in _SIGNATURES:
        if body.startswith(signature):
            return suffix, media_type
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return ".webp", "image/webp"
    # ISO/IEC 14496-12 section 4.3: a box's size, "ftyp", the major brand, its version, compatible brands.
    if body[4:8] == b"ftyp":
        box = body[8 : min(int.from_bytes(body[:4], "big"), 256)]
        if _AVIF_BRANDS & {box[n : n + 4] for n in range(0, len(box), 4)}:
            return ".avif", "image/avif"
    return "", ""
