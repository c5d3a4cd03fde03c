"""Strangers' HTML made harmless, and text made out of it. Fetches nothing; knows no article.

What leaves here still gets escaped and is served with a content security policy: this is one wall of three.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

import nh3

from syndicate.collect.links import absolute_url
from syndicate.collect.settled import is_settled

__all__ = [
    "clean_text",
    "excerpt",
    "first_words",
    "plain_text",
    "relative_images",
    "sanitise",
    "shorten",
    "text_to_html",
]

#: Elements that may stay. No style, forms, frames, scripts, vector images or mathematics.
TAGS: Final = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "blockquote", "br", "caption", "cite", "code", "dd", "del", "dfn", "div"}
    | {"dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins"}
    | {"kbd", "li", "mark", "ol", "p", "pre", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strong"}
    | {"sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "time", "tr", "u", "ul", "var"}
)
#: Elements that go with all they contain: their text was never meant for a reader.
DROPPED: Final = frozenset(
    [
        "button",
        "noembed",
        "noframes",
        "noscript",
        "script",
        "select",
        "style",
        "template",
        "textarea",
        "title",
    ]
)
#: Attributes that may stay. No class, id, style, or event; no srcset and cite, which nh3 leaves relative.
ATTRIBUTES: Final = {
    "*": {"dir", "lang"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "del": {"datetime"},
    "img": {"alt", "height", "src", "title", "width"},
    "ins": {"datetime"},
    "li": {"value"},
    "ol": {"reversed", "start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "time": {"datetime"},
}
SCHEMES: Final = frozenset(["http", "https", "mailto", "tel"])
LINK_REL: Final = "noopener noreferrer"

#: Players whose frame becomes a link to the page of the video: host, path before the id, page before it.
VIDEO_FRAMES: Final = (
    ("www.youtube.com", "/embed/", "https://www.youtube.com/watch?v="),
    ("www.youtube-nocookie.com", "/embed/", "https://www.youtube.com/watch?v="),
    ("player.vimeo.com", "/video/", "https://vimeo.com/"),
)

_BLOCKS: Final = frozenset(
    {"blockquote", "br", "dd", "div", "dt", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "p"}
    | {"pre", "td", "th", "tr"}
)
#: How deep elements may nest (libxml2 has the same limit). nh3 takes quadratic time: 20,000 deep take 2 s.
_DEPTH: Final = 256
#: Passes until nothing changes any more. Two are usual: one that works and one that finds nothing to do.
_PASSES: Final = 6

# What XML 1.0 section 2.2 forbids, with the lone surrogates that no UTF-8 can hold.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE: Final = re.compile(r' ([^\s="<>/]+)="([^"]*)"')
_CONTROLS: Final = bytes({*range(32)} - {9, 10, 13})
_NOT_CHARACTERS: Final = ("\ufffe".encode(), "\uffff".encode())
_IMAGE: Final = re.compile("<img([^>]*)>")
_LINK_WITHOUT: Final = re.compile('<a(?! href=")[ >]')  # or with another attribute first
_ADDRESS: Final = re.compile(' src="https?:', re.IGNORECASE)
_PIXEL: Final = re.compile(r' (?:width|height)="\s*[01]\s*"')
_IMAGE_OR_LINK: Final = re.compile(r'<(/?)(img|a)((?: [^\s="<>/]+="[^"]*")*)>')  # as nh3 writes them
_BLOCK_TAG: Final = re.compile(rf"</?(?:{'|'.join(sorted(_BLOCKS, key=len, reverse=True))})(?: [^>]*)?>")
_INLINE_TAG: Final = re.compile("<[^>]*>")
_ANY_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_FRAME_START: Final = re.compile("<iframe", re.IGNORECASE)
_FRAME: Final = re.compile(r'<iframe((?: [^\s="<>/]+="[^"]*")*)>.*?</iframe>', re.DOTALL)
_PRE_START: Final = re.compile(r"(<pre(?: [^\s=\"<>/]+=\"[^\"]*\")*>)\n+")
_URL: Final = re.compile(r"https?://[^\s<>\"]+")
_VIDEO_ID: Final = re.compile(r"[\w-]{1,40}")
_NEVER_NEST: Final = frozenset(
    {"area", "base", "br", "col", "dd", "dt", "hr", "img", "input", "li", "link", "meta", "p", "source", "td"}
    | {"th", "tr", "wbr"}
)


def sanitise(markup: str, *, base_url: str = "") -> str:
    """The part of some HTML that may be shown, with absolute URLs and without control characters.

    Relative links resolve against ``base_url``; without one they lose their address: a link becomes its
    text, an image goes. Sanitising the result again changes nothing.
    """
    if not markup.strip():
        return ""
    if _is_too_deep(markup):
        return html.escape(plain_text(markup), quote=False)
    text = clean_text(markup)
    if _FRAME_START.search(text):
        text = _FRAME.sub(_frame_to_link, _cleaner(base_url, keep_frames=True).clean(text))
    cleaner = _cleaner(base_url)
    for _ in range(_PASSES):
        done = _tidy(cleaner.clean(text))
        if done == text or is_settled(done):
            return done
        text = done
    return html.escape(plain_text(text), quote=False)


def plain_text(markup: str) -> str:
    """The words of some HTML on one line: tags out, entities decoded once, white space folded."""
    if "<" not in markup and "&" not in markup:
        return _fold(clean_text(markup))
    if _is_too_deep(markup):
        return _fold(_strip_tags(markup))
    bare = _BLOCK_CLEANER.clean(clean_text(markup))
    return _fold(clean_text(html.unescape(_INLINE_TAG.sub(" ", bare))))


def first_words(clean: str, limit: int = 300) -> str:
    """What ``excerpt`` gives, for HTML that ``sanitise`` gave, in a tenth of the time."""
    words = ""
    for end in (limit * 5, len(clean)):
        head = _whole(clean[:end]) if end < len(clean) else clean
        words = _fold(html.unescape(_INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", head))))
        if len(words) > limit:
            break
    return shorten(words, limit)


def _whole(head: str) -> str:
    """The start of some clean HTML without a tag or an entity that is cut in two."""
    for first, last in ("<>", "&;"):
        if head.rfind(first) > head.rfind(last):
            head = head[: head.rfind(first)]
    return head


def excerpt(markup: str, limit: int = 300) -> str:
    """The first words of some HTML as plain text of at most ``limit`` characters."""
    return shorten(plain_text(markup), limit)


def shorten(text: str, limit: int = 300) -> str:
    """A plain text on one line of at most ``limit`` characters, cut between two words, with an ellipsis."""
    folded = _fold(clean_text(text))
    if len(folded) <= limit:
        return folded
    head = folded[:limit]
    words = head.rpartition(" ")[0] or head[:-1]
    return words.rstrip(" ,;:.-–—") + "…"


def text_to_html(text: str) -> str:
    """Plain text as HTML: blank lines part paragraphs, without any each line is one; URLs become links."""
    lines = [line.strip() for line in clean_text(text).strip().splitlines()]
    paragraphs = re.split(r"\n{2,}", "\n".join(lines)) if "" in lines else lines
    return "\n".join(f"<p>{_link_urls(p)}</p>" for p in paragraphs if p)


def clean_text(text: str) -> str:
    """The text without the characters that XML forbids and the halves of characters."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return _FORBIDDEN.sub("", text)
    if not text.isascii() and any(pair in data for pair in _NOT_CHARACTERS):
        return _FORBIDDEN.sub("", text)
    kept = data.translate(None, _CONTROLS)  # a tenth of the expression's time
    return text if len(kept) == len(data) else kept.decode()


def relative_images(markup: str) -> tuple[str, ...]:
    """The addresses of images that only mean something beside the document itself, in their order."""
    found: list[str] = []

    def note(tag: str, attribute: str, value: str) -> str:
        if tag == "img" and attribute == "src" and value and not urlsplit(value).scheme:
            found.append(value)
        return value

    if not _is_too_deep(markup):
        nh3.clean(markup, tags={"img"}, attributes={"img": {"src"}}, attribute_filter=note, link_rel=None)
    return tuple(found)


def _cleaner(base_url: str, *, keep_frames: bool = False) -> nh3.Cleaner:
    try:
        return nh3.Cleaner(
            tags=_FRAMED_TAGS if keep_frames else _TAGS,
            clean_content_tags=_DROPPED if keep_frames else _DROPPED_WITH_FRAMES,
            attributes=_FRAMED_ATTRIBUTES if keep_frames else ATTRIBUTES,
            url_schemes=_SCHEMES,
            url_relative=("rewrite_with_base", base_url) if base_url else "deny",
            link_rel=LINK_REL,
        )
    except ValueError:  # no address: nothing can be relative to it
        return _cleaner("", keep_frames=keep_frames)


# nh3 takes plain sets only.
_TAGS: Final = set(TAGS)
_FRAMED_TAGS: Final = TAGS | {"iframe"}
_DROPPED: Final = set(DROPPED)
_DROPPED_WITH_FRAMES: Final = DROPPED | {"iframe"}
_FRAMED_ATTRIBUTES: Final = ATTRIBUTES | {"iframe": {"src"}}
_SCHEMES: Final = set(SCHEMES)
_BLOCK_CLEANER: Final = nh3.Cleaner(
    tags=set(_BLOCKS), clean_content_tags=_DROPPED_WITH_FRAMES, attributes={}, link_rel=None
)


def _tidy(markup: str) -> str:
    """What nh3 cannot say: no pixel that counts readers, no image and no link without an address."""
    if _LINK_WITHOUT.search(markup) or not all(map(_is_picture, _IMAGE.findall(markup))):
        markup = _without_empty(markup)
    if "<pre" in markup:
        markup = _PRE_START.sub(r"\1", clean_text(markup))
    return clean_text(markup).strip()


def _without_empty(markup: str) -> str:
    open_links: list[bool] = []

    def keep(match: re.Match[str]) -> str:
        closing, tag, attributes = match.groups()
        if tag == "img":
            return match.group() if _is_picture(attributes) else ""
        if closing:
            return match.group() if open_links and open_links.pop() else ""
        open_links.append(' href="' in attributes)
        return match.group() if open_links[-1] else ""

    return _IMAGE_OR_LINK.sub(keep, markup)


def _is_picture(attributes: str) -> bool:
    return _ADDRESS.search(attributes) is not None and _PIXEL.search(attributes) is None


def _frame_to_link(match: re.Match[str]) -> str:
    source = html.unescape(dict(_ATTRIBUTE.findall(match.group(1))).get("src", ""))
    parts = urlsplit(absolute_url(source))
    for host, before, page in VIDEO_FRAMES:
        video = parts.path.removeprefix(before)
        if parts.hostname == host and video != parts.path and _VIDEO_ID.fullmatch(video):
            return f'<p><a href="{page}{video}">{page}{video}</a></p>'
    return ""


def _is_too_deep(markup: str) -> bool:
    """Whether elements may nest deeper than we let nh3 go, counted from above and in linear time."""
    if markup.count("<") <= _DEPTH:
        return False
    open_tags: Counter[str] = Counter()
    depth = 0
    for closing, tag in _ANY_TAG.findall(markup):
        name = tag.lower()
        if name in _NEVER_NEST:
            continue
        if not closing:
            open_tags[name] += 1
            depth += 1
        elif open_tags[name]:
            open_tags[name] -= 1
            depth -= 1
        if depth > _DEPTH:
            return True
    return False


def _strip_tags(markup: str) -> str:
    return clean_text(html.unescape(re.sub(r"<[^<>]*>?", " ", clean_text(markup))))


def _link_urls(text: str) -> str:
    parts: list[str] = []
    end = 0
    for match in _URL.finditer(text):
        url = match.group().rstrip(".,;:!?'")
        if url.endswith(")") and "(" not in url:
            url = url.rstrip(").,")
        if not absolute_url(url):
            continue
        shown = html.escape(url)
        parts += [html.escape(text[end : match.start()], quote=False), f'<a href="{shown}">{shown}</a>']
        end = match.start() + len(url)
    return "".join([*parts, html.escape(text[end:], quote=False)])


def _fold(text: str) -> str:
    return " ".join(text.split())
