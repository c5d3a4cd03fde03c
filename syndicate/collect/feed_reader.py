"""One entry of RSS or Atom, or what a feed says about itself, as feedparser would give it. Makes no article.

Each rule here is one of feedparser's, oddities included; what is not known exactly raises NotSure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from lxml import etree

from syndicate.collect.feed_elements import (
    Names,
    Place,
    attributes_of,
    looks_like_html,
    mended,
    place_of,
    resolve,
)
from syndicate.collect.feed_names import NotSure, local_name
from syndicate.collect.feed_xhtml import inner_xhtml

__all__ = ["Reader"]

_KINDS: Final = {
    **dict.fromkeys(["text", "plain", "text/plain"], "text/plain"),
    **dict.fromkeys(["html", "text/html"], "text/html"),
    "xhtml": "application/xhtml+xml",
}
#: Elements of feeds that mean nothing to us, and to feedparser nothing that reaches an article.
_IGNORED: Final = frozenset(
    """
    ttl generator docs comments rating cloud webmaster copyright rights subtitle icon logo created
    dc_publisher dc_rights dc_contributor dc_format dc_identifier dc_type dc_source dc_relation dc_coverage
    dcterms_created itunes_subtitle itunes_duration itunes_explicit itunes_episode itunes_season
    itunes_episodetype itunes_order itunes_block itunes_title itunes_type itunes_complete
    itunes_isclosedcaptioned media_credit media_copyright media_player media_hash media_text media_statistics
    media_starrating media_tags media_embed sy_updateperiod sy_updatefrequency sy_updatebase slash_comments
    slash_section slash_department slash_hit_parade wfw_commentrss wfw_comment wfw_comments thr_in-reply-to
    thr_total feedburner_origlink feedburner_info feedburner_feedflare feedburner_emailserviceid
    feedburner_feedburnerhostname feedburner_origenclosurelink geo_lat geo_long georss_point trackback_ping
    pingback_server pingback_target
    """.split()  # noqa: SIM905 - eighty quoted names hide what they say
)
_LINES_OF_IMAGE: Final = frozenset(["title", "link", "description", "url", "width", "height"])
#: And what may stand in those that have children.
_IGNORED_CHILDREN: Final = {
    "skiphours": frozenset(["hour"]),
    "skipdays": frozenset(["day"]),
    "contributor": frozenset(["name", "email", "uri"]),
    "media_community": frozenset(["media_starrating", "media_statistics", "media_tags"]),
}
_ONLY_IN_CHANNEL: Final = {
    "image": _LINES_OF_IMAGE,
    "textinput": frozenset(["title", "link", "description", "name"]),
    "itunes_owner": frozenset(["itunes_name", "itunes_email"]),
    "managingeditor": frozenset[str](),
    "lastbuilddate": frozenset[str](),
}
_IN_SOURCE: Final = frozenset(
    [
        "title",
        "id",
        "updated",
        "link",
        "author",
        "category",
        "rights",
        "subtitle",
        "icon",
        "logo",
        "generator",
    ]
)
_HREF_NAMES: Final = ("url", "uri", "href")
_AMPERSAND_NAME: Final = re.compile("&([A-Za-z0-9_]+);")


class Reader:
    """One entry, or what a feed says about itself."""

    def __init__(self, names: Names, place: Place, *, is_entry: bool, has_content: bool = False) -> None:
        self.found: dict[str, Any] = {}
        self.names, self.place, self.is_entry = names, place, is_entry
        self.has_content, self.has_summary = has_content, False
        self.has_title, self.saw_source, self.titles = False, False, 0
        self.has_mail_author = False
        self.seen_tags: set[tuple[str | None, ...]] = set()

    def read(self, element: etree._Element) -> dict[str, Any]:
        """What feedparser would find in an entry. Raises NotSure."""
        attributes = attributes_of(element)
        if "href" in attributes:
            raise NotSure("an entry with a link of its own")
        self.place = place_of(self.place, attributes)
        for child in element:
            self.take(self.names.of(child), child)
        return self.found

    def take(self, name: str, element: etree._Element) -> None:
        """Notes what one element says; ``name`` is its name by ``Names``. Raises NotSure."""
        read = _READERS.get(name)
        if read is not None:
            attributes = attributes_of(element)
            place = place_of(self.place, attributes) if attributes else self.place
            read(self, element, attributes, place)
        else:
            self._ignore(name, element)

    def _ignore(self, name: str, element: etree._Element) -> None:
        attributes_of(element)
        self.found["has_more"] = True  # an entry without anything at all is none
        allowed = _IGNORED_CHILDREN.get(name)
        if allowed is None and not self.is_entry and not self.place.is_atom:
            allowed = _ONLY_IN_CHANNEL.get(name)
        if allowed is None and name not in _IGNORED and name != "?":
            raise NotSure(f"the element {name}")
        for child in element:
            inner = self.names.of(child)
            if len(child) and inner != "?":
                raise NotSure(f"what is in {inner}")
            if inner == "?":
                self._ignore(inner, child)
            elif inner not in (allowed or ()):
                raise NotSure(f"the element {inner} in {name}")
            else:
                attributes_of(child)

    def _text(self, element: etree._Element) -> str:
        if len(element):
            raise NotSure(f"elements in {local_name(element.tag)}")
        return mended(element.text or "")

    def _construct(
        self, element: etree._Element, attributes: dict[str, str], place: Place, default: str
    ) -> dict[str, str]:
        """A text with its type, which may be in the markup itself (RFC 4287 section 3.1)."""
        kind = _KINDS.get(attributes.get("type", default))
        if kind is None:
            raise NotSure("the type of a text")
        if kind == "application/xhtml+xml":
            if not place.is_atom:
                raise NotSure("XHTML in RSS")
            value = mended(inner_xhtml(element, self.names.of))
        else:
            value = self._text(element)
        if kind == "text/plain" and not place.is_atom and looks_like_html(value):
            kind = "text/html"
        return {"value": value, "type": kind, "language": place.language, "base": place.base}

    # Below: what becomes of each element. The arguments are the same for all.

    def _title(
        self, element: etree._Element, attributes: dict[str, str], place: Place, *, is_media: bool = False
    ) -> None:
        detail = self._construct(element, attributes, place, "text/plain")
        self.titles += 1
        if is_media and (self.saw_source or not detail["value"]):
            raise NotSure("a title of a file")
        if not self.has_title:
            self.found["title_detail"] = detail
            self.has_title = bool(detail["value"]) and not is_media

    def _media_title(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        self._title(element, attributes, place, is_media=True)

    def _link(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        relation = attributes.setdefault("rel", "alternate")
        attributes.setdefault("type", "application/atom+xml" if relation == "self" else "text/html")
        text = self._text(element)
        self.found["has_more"] = True
        _enforce_href(attributes)
        if "href" in attributes:
            if not attributes["href"]:
                raise NotSure("a link to nowhere")
            attributes["href"] = resolve(place.base, attributes["href"])
            kind = _KINDS.get(attributes["type"], attributes["type"])
            if relation == "alternate" and kind in {"text/html", "application/xhtml+xml"}:
                self.found["link"] = attributes["href"]
        else:
            target = resolve(place.base, text) if text else ""
            if self.is_entry:
                target = target.replace("&amp;", "&")
            self.found["link"] = _AMPERSAND_NAME.sub(r"&\g<1>", target)
            if target:
                attributes["href"] = self.found["link"]
        if relation == "enclosure":
            self.found.setdefault("enclosures", []).append(attributes)

    def _guid(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        is_link = attributes.get("ispermalink", "true") == "true"
        value = self._text(element)
        if is_link and value:
            value = resolve(place.base, value)
        self.found["id"] = value
        self.found.setdefault("guidislink", is_link and "link" not in self.found)
        if is_link:
            self.found.setdefault("link", value)

    def _described(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        if self.has_summary and not self.has_content:
            self._content(element, attributes, place)
            return
        self.found["summary_detail"] = self._construct(element, attributes, place, "text/html")
        self.has_summary = self.has_summary or self.is_entry  # of a feed it is the subtitle

    def _summary(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        if self.has_summary and not self.has_content:
            self._content(element, attributes, place)
            return
        self.found["summary_detail"] = self._construct(element, attributes, place, "text/plain")
        self.has_summary = True

    def _content(
        self,
        element: etree._Element,
        attributes: dict[str, str],
        place: Place,
        default: str = "text/plain",
    ) -> None:
        self.has_content = self.has_summary = True
        self.found.setdefault("content", []).append(self._construct(element, attributes, place, default))

    def _encoded(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        self._content(element, attributes, place, "text/html")

    def _author(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del attributes
        authors = self.found.setdefault("authors", [])
        if self.has_mail_author:
            raise NotSure("an address of mail among several authors")
        detail = self._person(element, place) if len(element) else {}
        text = "" if len(element) else self._text(element)
        if "@" in text and place.is_atom:
            raise NotSure("an address of mail for an author")
        name, email = detail.get("name"), detail.get("email")
        if detail and authors and not (name and place.is_atom):
            raise NotSure("several authors, one of them without a name")
        whole = f"{name} ({email})" if name and email else name or email or text
        self.has_mail_author = "@" in text or ("@" in (name or "") and email is None)
        authors.append(detail or ({"name": text} if text else {}))
        self.found["author"] = whole

    def _person(self, element: etree._Element, place: Place) -> dict[str, str]:
        detail: dict[str, str] = {}
        texts = [element.text, *(child.tail for child in element)]
        if any(text and text.strip() for text in texts):
            raise NotSure("text beside elements in author")
        for child in element:
            name, attributes = self.names.of(child), attributes_of(child)
            inside = place_of(place, attributes)
            if name in {"name", "email"} and not len(child):
                detail[name] = (child.text or "").strip()
            elif name == "uri":
                text = self._text(child)
                detail["href"] = resolve(inside.base, text) if text else ""
            elif name != "?" or len(child) or child.text:
                raise NotSure(f"the element {name} in author")
        return detail

    def _category(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del place
        scheme = attributes.get("scheme", attributes.get("domain"))
        self._tag(attributes.get("term"), scheme, attributes.get("label"))
        self._tag_text(element)

    def _media_category(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        attributes.setdefault("scheme", "http://search.yahoo.com/mrss/category_schema")
        self._category(element, attributes, place)

    def _itunes_category(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        self._tag(attributes.get("text"), "http://www.itunes.com/", None)
        if not self.is_entry and len(element):
            if element.text and element.text.strip():
                raise NotSure("text beside elements in itunes:category")
            for child in element:
                if self.names.of(child) != "itunes_category":
                    raise NotSure("what is in itunes:category")
                self._itunes_category(child, attributes_of(child), place)
        else:
            self._tag_text(element)

    def _tag_text(self, element: etree._Element) -> None:
        text, tags = self._text(element), self.found["tags"]
        if text and tags and not tags[-1]["term"]:
            last = tags[-1]
            self.seen_tags.discard((last["term"], last["scheme"], last["label"]))
            last["term"] = text
            self.seen_tags.add((text, last["scheme"], last["label"]))
        elif text:
            self._tag(text, None, None)

    def _keywords(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del place
        if attributes:
            raise NotSure("keywords with attributes")
        is_itunes = self.names.of(element) == "itunes_keywords"
        scheme = "http://www.itunes.com/" if is_itunes else None
        if not is_itunes:
            self.found["has_more"] = True
        for term in self._text(element).split(","):
            if term.strip():
                self._tag(term.strip(), scheme, None)

    def _tag(self, term: str | None, scheme: str | None, label: str | None) -> None:
        tags = self.found.setdefault("tags", [])
        tag = {"term": term, "scheme": scheme, "label": label}
        key = (term, scheme, label)
        if any(key) and key not in self.seen_tags:
            self.seen_tags.add(key)
            tags.append(tag)

    def _published(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del attributes, place
        self.found["published"] = self._text(element)

    def _updated(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del attributes, place
        self.found["updated"] = self._text(element)

    def _language(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del attributes, place
        self.found["language"] = self._text(element)

    def _enclosure(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del place
        self._text(element)
        _enforce_href(attributes)
        attributes["rel"] = "enclosure"
        self.found.setdefault("enclosures", []).append(attributes)

    def _media_content(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        self.found.setdefault("media_content", []).append(attributes)
        self._media_group(element, attributes, place)

    def _media_group(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del attributes
        outer, self.place = self.place, place
        for child in element:
            name = self.names.of(child)
            if not name.startswith(("media_", "?")):
                raise NotSure(f"the element {name} in media")
            self.take(name, child)
        self.place = outer

    def _thumbnail(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        text = self._text(element)
        if text and "url" not in attributes:
            attributes["url"] = resolve(place.base, text)
        self.found.setdefault("media_thumbnail", []).append(attributes)

    def _itunes_image(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        del place
        self._text(element)
        if self.is_entry and (target := attributes.get("href") or attributes.get("url")):
            self.found["image"] = {"href": target}

    def _source(self, element: etree._Element, attributes: dict[str, str], place: Place) -> None:
        """Where an article came from; of no use yet, but feedparser takes titles anew after it."""
        inside = Reader(self.names, place, is_entry=False)
        del attributes
        for child in element:
            name = self.names.of(child)
            if not place.is_atom or name not in _IN_SOURCE | {"?"}:
                raise NotSure(f"the element {name} in source")
            inside.take(name, child)
        self.saw_source, self.has_title, self.found["has_more"] = True, False, True


def _enforce_href(attributes: dict[str, str]) -> None:
    href = attributes.get("url", attributes.get("uri", attributes.get("href")))
    if href:
        for name in _HREF_NAMES:
            attributes.pop(name, None)
        attributes["href"] = href


_Read = Callable[[Reader, etree._Element, dict[str, str], Place], None]
_READERS: Final[dict[str, _Read]] = {
    **dict.fromkeys(["title", "dc_title"], Reader._title),
    "media_title": Reader._media_title,
    "link": Reader._link,
    **dict.fromkeys(["guid", "id"], Reader._guid),
    **dict.fromkeys(["description", "dc_description", "media_description"], Reader._described),
    **dict.fromkeys(["summary", "itunes_summary"], Reader._summary),
    "content": Reader._content,
    "content_encoded": Reader._encoded,
    **dict.fromkeys(["author", "dc_creator", "dc_author", "itunes_author"], Reader._author),
    **dict.fromkeys(["category", "dc_subject"], Reader._category),
    "media_category": Reader._media_category,
    "itunes_category": Reader._itunes_category,
    **dict.fromkeys(["itunes_keywords", "media_keywords"], Reader._keywords),
    **dict.fromkeys(["pubdate", "published", "dcterms_issued"], Reader._published),
    **dict.fromkeys(["updated", "dc_date", "dcterms_modified"], Reader._updated),
    **dict.fromkeys(["language", "dc_language"], Reader._language),
    "enclosure": Reader._enclosure,
    "media_content": Reader._media_content,
    "media_group": Reader._media_group,
    "media_thumbnail": Reader._thumbnail,
    "itunes_image": Reader._itunes_image,
    "source": Reader._source,
}
