"""Markdown files to articles. Reads no file and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from syndicate.collect.dates import parse_date
from syndicate.collect.files import (
    PlaceImage,
    image_note,
    not_placed,
    read_text,
    same_words,
    title_from_path,
)
from syndicate.collect.front_matter import FrontMatter, split_front_matter
from syndicate.collect.links import absolute_url
from syndicate.collect.parsed import choose_guid, choose_language, choose_title, labels
from syndicate.collect.sanitise import excerpt, plain_text, sanitise, shorten
from syndicate.errors import ParseError
from syndicate.model import Author, DateQuality, ParsedArticle

__all__ = ["parse_markdown"]

# Raw HTML is text here: who wants HTML writes an HTML file.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


def parse_markdown(
    body: bytes, *, path: str, zone: tzinfo, place_image: PlaceImage = not_placed
) -> ParsedArticle | None:
    """The article in a Markdown file (CommonMark with tables), or None if its head says that it is a draft.

    The head may name title, date, updated, author, tags, summary, canonical_url, id, lang and image. A first
    heading is the title where the head names none, and is left out of the text where it repeats it.
    ``place_image`` gives the URL of an image by its address in the file, or nothing. Links and images that
    then still mean something beside the file only lose their address: a link becomes its text, an image goes,
    with a note. Raises ParseError, which names the line.
    """
    text, note = read_text(body, path=path)
    head, markdown = split_front_matter(text, path=path)
    if head.is_draft:
        return None
    published_at, quality = _date(head, "date", path, zone)
    updated_at, _ = _date(head, "updated", path, zone)
    tokens = _MARKDOWN.parse(markdown)
    title = plain_text(head.text("title")) if "<" in head.text("title") else head.text("title")
    title, tokens = _take_title(title, tokens)
    url = absolute_url(head.text("canonical_url"))
    _place_images(tokens, place_image)
    markup = str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
    content = sanitise(markup, base_url=url)
    return ParsedArticle(
        guid=choose_guid(head.text("id"), path),
        url=url,
        title=choose_title(title or title_from_path(path), content),
        content_html=content,
        summary=shorten(head.text("summary")) or excerpt(content),
        authors=tuple(
            Author(name=shorten(p["name"], 200), email=p.get("email", ""), url=absolute_url(p.get("url", "")))
            for p in head.people()
        ),
        tags=labels(head.words("tags")),
        language=choose_language(head.text("lang")),
        image_url=place_image(head.text("image")) or absolute_url(head.text("image"), url),
        published_at=published_at,
        published_quality=quality,
        updated_at=updated_at,
        note="; ".join(filter(None, [note, "" if url else image_note(markup)])),
    )


def _place_images(tokens: Sequence[Token], place_image: PlaceImage) -> None:
    for token in tokens:
        for child in token.children or ():
            url = place_image(str(child.attrGet("src") or "")) if child.type == "image" else ""
            if url:
                child.attrSet("src", url)


def _take_title(title: str, tokens: list[Token]) -> tuple[str, list[Token]]:
    """The title, and the tokens without the heading at their start that says it."""
    if not (tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1"):
        return title, tokens
    heading = plain_text(_MARKDOWN.renderer.render(tokens[1:2], _MARKDOWN.options, {}))
    if title and not same_words(title, heading):
        return title, tokens
    return title or heading, tokens[3:]


def _date(head: FrontMatter, name: str, path: str, zone: tzinfo) -> tuple[datetime | None, DateQuality]:
    text = head.text(name)
    at, quality = parse_date(text, zone=zone)
    if text and at is None:
        detail = f"line {head.line(name)}: the {name} '{text[:40]}' is none; write it like 2024-02-08"
        raise ParseError(path, "front_matter", detail)
    return at, quality
