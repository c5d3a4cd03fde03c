"""Plain text files to articles. Reads no file and no clock."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from typing import Final

from syndicate.collect.dates import parse_date
from syndicate.collect.files import read_text, title_from_path
from syndicate.collect.sanitise import excerpt, sanitise, text_to_html
from syndicate.model import Author, DateQuality, ParsedArticle

__all__ = ["parse_text"]

#: A first line that is longer is no title. Our choice.
_TITLE_LIMIT: Final = 200
_DATE_LABEL: Final = re.compile(r"(?:date|published)\s*:\s*", re.IGNORECASE)
_BYLINE: Final = re.compile(r"by\s+(\S.{0,98})", re.IGNORECASE)


def parse_text(body: bytes, *, path: str, zone: tzinfo) -> ParsedArticle:
    """The article in a plain text file.

    The first line is the title; below it may stand a line that is a date and one like ``By NAME``; blank
    lines part paragraphs, and where there are none each line is one. Nothing in it is markup. ``path`` is
    under the folder and gives the guid, and the title where the first line is too long to be one. Raises
    ParseError.
    """
    text, note = read_text(body, path=path)
    lines = text.strip().split("\n")
    title = " ".join(lines[0].split())
    if len(title) > _TITLE_LIMIT:
        title = title_from_path(path)
    else:
        lines = lines[1:]
    lines, published_at, quality, author = _take_head(lines, zone)
    content = sanitise(text_to_html("\n".join(lines)))
    return ParsedArticle(
        guid=path,
        url="",
        title=title,
        content_html=content,
        summary=excerpt(content),
        authors=(Author(name=author),) if author else (),
        published_at=published_at,
        published_quality=quality,
        note=note,
    )


def _take_head(lines: list[str], zone: tzinfo) -> tuple[list[str], datetime | None, DateQuality, str]:
    """The date and the author below the title, each at most once, and the lines that are left."""
    published_at, quality, author = None, DateQuality.FIRST_SEEN, ""
    while lines:
        line = lines[0].strip()
        at, its_quality = parse_date(_DATE_LABEL.sub("", line, count=1), zone=zone)
        byline = _BYLINE.fullmatch(line)
        if at and not published_at:
            published_at, quality = at, its_quality
        elif byline and not author and len(line.split()) <= 6 and not line.endswith("."):
            author = byline.group(1).strip()
        elif line:
            break
        lines = lines[1:]
    return lines, published_at, quality, author
