"""HTML and text as plain text for reading. Does not know templates or messages."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from inscriptis import get_text  # type: ignore[import-untyped]  # it ships no types

__all__ = ["clean_line", "excerpt", "text_of_html", "wrap"]

_WIDTH: Final = 72  # leaves room for quoting in a reply of 80 columns

#: Control characters (C0, DEL, C1 with U+0085), line and paragraph separators, lone surrogates.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_BLANKS: Final = re.compile(" {2,}")


def clean_line(text: str) -> str:
    """The text on one line: what cannot be printed is a space, and so is any run of blanks."""
    if not text.isprintable():  # which takes a fraction of the time, and is stricter
        text = _UNPRINTABLE.sub(" ", text)
    if "  " in text:
        text = _BLANKS.sub(" ", text)
    return text.strip(" ")


def text_of_html(html: str) -> str:
    """The visible text of sanitised HTML, paragraphs separated by empty lines."""
    lines = (line.strip() for line in get_text(html).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def excerpt(text: str, limit: int) -> str:
    """The text on one line and at most ``limit`` characters, cut at a word with an ellipsis."""
    line = clean_line(text)
    if len(line) <= limit:
        return line
    cut = line[:limit]  # one character is left for the ellipsis
    head = cut.rsplit(" ", 1)[0] if " " in cut else cut[:-1]
    return head.rstrip(" ,;:.–—-·") + "…"


def wrap(text: str, indent: str = "") -> str:
    """The text in lines of at most 72 characters; a long word, such as a URL, is never broken."""
    return textwrap.fill(
        clean_line(text),
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
