"""What the formats of a folder share: text out of bytes, a title out of a name. Reads no file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from syndicate.collect.charset import decode
from syndicate.collect.sanitise import clean_text, relative_images
from syndicate.errors import ParseError

__all__ = ["PlaceImage", "image_note", "not_placed", "read_text", "same_words", "title_from_path"]

#: Gives the URL under which an image is served by its address in a file, or nothing.
PlaceImage = Callable[[str], str]


def not_placed(_address: str) -> str:
    """No image has a URL: the files were not read out of a folder whose images are kept."""
    return ""


def read_text(body: bytes, *, path: str, declared: Sequence[str] = ()) -> tuple[str, str]:
    """A file's text in NFC with LF line ends, and a note if it was not UTF-8.

    Raises ParseError ``empty`` if there is none.
    """
    decoded, encoding = decode(body, declared)
    text = unicodedata.normalize("NFC", clean_text(decoded))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ParseError(path, "empty", "is empty")
    return text, "" if encoding.startswith("utf-") else f"read as {encoding}, since it is not UTF-8"


def title_from_path(path: str) -> str:
    """The file's name as a title: ``notes/flat-paper.txt`` is "flat paper"."""
    return " ".join(re.sub(r"[-_]+", " ", PurePosixPath(path).stem).split()) or path


def same_words(one: str, other: str) -> bool:
    """Whether two titles say the same, whatever their case and spacing."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def image_note(markup: str) -> str:
    """A note about the images that are beside the file and therefore left out, or nothing."""
    images = relative_images(markup)
    if not images:
        return ""
    return f"left out {len(images)} image{'s' if images[1:] else ''} without a web address: {images[0][:80]}"
