"""The markup of a page before and after a library has looked for its main text. Decides nothing about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lxml import etree, html

from syndicate.collect.links import absolute_url
from syndicate.collect.sanitise import sanitise

__all__ = ["mend", "to_html"]

#: Where pages that load their pictures late keep the address meanwhile.
_LATE_SOURCES: Final = ("data-src", "data-lazy-src", "data-original", "data-orig-file", "data-full-src")
_ANCHORED: Final = re.compile(r"[a-z][a-z0-9+.-]*:|[/#]", re.IGNORECASE)
_SRCSET_PART: Final = re.compile(r"(\S+?)(?:\s+(\d{1,6}(?:\.\d{1,3})?)[wx])?\s*(?:,\s+|,?\s*$)")
_SRCSET_LIMIT: Final = 4_000  # characters
_WIDEST: Final = 2_000  # pixels
_BOXES: Final = frozenset(["div", "figure", "span", "center"])
_EMPHASIS: Final = {"#b": "strong", "#i": "em", "#u": "u", "#t": "code", "#sub": "sub", "#sup": "sup"}
_LINES: Final = frozenset(
    {"p", "li", "dt", "dd", "td", "th", "a", "em", "strong", "h2", "h3", "h4", "h5", "h6"}
)
#: Trafilatura's names for elements, which say more by their form, and by what is above them. Its own HTML
#: makes every list unordered, every code a block, and doubles some of it.
_HTML_TAGS: Final[dict[str, Callable[[str, str], str]]] = {
    "cell": lambda form, _: "th" if form == "head" else "td",
    "code": lambda _, above: "code" if above == "pre" or above in _LINES else "pre",
    "graphic": lambda _, __: "img",
    "head": lambda form, _: form if re.fullmatch("h[1-6]", form) else "h3",
    "hi": lambda form, _: _EMPHASIS.get(form, "em"),
    "item": lambda form, above: form[:2] if above == "dl" and form[:2] in {"dt", "dd"} else "li",
    "lb": lambda _, __: "br",
    "list": lambda form, _: form if form in {"ol", "dl"} else "ul",
    "quote": lambda _, above: "q" if above in _LINES else "blockquote",
    "ref": lambda _, __: "a",
    "row": lambda _, __: "tr",
}


def mend(root: html.HtmlElement, base: str) -> None:
    """Brings a page's tree, in place, to forms that trafilatura and readability keep: links that are relative
    to the page, pictures that load late or have several sizes, films, captions, code.
    """
    for link in root.iter("a"):
        href = str(link.get("href") or "").strip()
        if href and not _ANCHORED.match(href):  # trafilatura would begin at the host
            link.set("href", absolute_url(href, base) or href)
    for picture in root.iter("img"):
        source = _source(picture)
        if source:
            picture.set("src", source)
    for frame in list(root.iter("iframe")):
        _show_film(frame)
    for caption in root.iter("figcaption"):
        caption.tag = "p"
    for caption in list(root.iter("caption")):
        _lift_caption(caption)
    for block in root.iter("pre"):
        if block.find("code") is None:
            _mark_code(block)


def _show_film(frame: html.HtmlElement) -> None:
    """Puts the link that sanitising makes of a player before the boxes that hold nothing but players."""
    frame.set("src", str(frame.get("src") or frame.get("data-src") or ""))
    link = sanitise(html.tostring(frame, encoding="unicode", with_tail=False))
    if not link:
        return
    box = frame
    above = box.getparent()
    while above is not None and above.tag in _BOXES and not above.text_content().strip():
        box, above = above, above.getparent()
    if above is not None:
        shown = html.fragment_fromstring(link)
        box.addprevious(shown[0] if above.tag == "p" else shown)  # no paragraph holds another


def _lift_caption(caption: html.HtmlElement) -> None:
    table = next(caption.iterancestors("table"), None)
    if table is not None:
        caption.drop_tree()
        caption.tag, caption.tail = "p", None
        table.addprevious(caption)


def _mark_code(block: html.HtmlElement) -> None:
    code = html.Element("code")
    code.text, block.text = block.text, None
    code.extend(list(block))
    block.append(code)


def _source(picture: html.HtmlElement) -> str:
    """Where a picture really is: its address, the one that a script would set, or the largest of several."""
    given = str(picture.get("src") or "").strip()
    if given and not given.startswith("data:") and not any(picture.get(name) for name in _LATE_SOURCES):
        return given
    late = next((str(found) for name in _LATE_SOURCES if (found := picture.get(name))), "")
    frame = next(picture.iterancestors("picture"), None)
    # The picture's own sizes first: the others are often in formats that no mail program shows.
    for element in [picture, *(frame.iter("source") if frame is not None else ())]:
        late = late or _largest(str(element.get("srcset") or element.get("data-srcset") or ""))
    return late.strip()


def _largest(sizes: str) -> str:
    """The widest picture of a ``srcset`` that is not wider than any mail or page shows it."""
    folded = " ".join(sizes[:_SRCSET_LIMIT].split())
    parts = [(float(size or 1), place) for place, size in _SRCSET_PART.findall(folded)]
    return max((part for part in parts if part[0] <= _WIDEST), default=min(parts, default=(0.0, "")))[1]


def to_html(body: etree._Element) -> str:
    """The HTML of a body in trafilatura's own elements, not sanitised; the body is changed."""
    for element in body.iter(etree.Element):
        element.tag = _html_tag(element)
        if element.tag == "a":
            element.set("href", element.get("target") or "")
    return "".join(etree.tostring(child, encoding="unicode", method="html") for child in body)


def _html_tag(element: etree._Element) -> str:
    """Parents come first, so the parent of an element has its name in HTML already."""
    tag, parent = str(element.tag), element.getparent()
    rule = _HTML_TAGS.get(tag)
    form = str(element.get("rend") or element.get("role") or "")
    return rule(form, str(parent.tag) if parent is not None else "") if rule else tag
