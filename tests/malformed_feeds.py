"""Feeds as the world breaks them: a dozen good ones, a table of faults, some made by hand, and bombs."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["BOMBS", "GOOD", "HAND_MADE", "malformed"]

_GOLDEN = Path(__file__).parent / "golden" / "collect"
_ITEM = (
    "<item><guid>g{n}</guid><title>Piece {n}</title>"
    "<description>&lt;p&gt;Words {n}.&lt;/p&gt;</description></item>"
)
_ENTRY = (
    "<entry><id>tag:x.example,2024:{n}</id><title>Piece {n}</title><updated>2024-02-08T10:00:00Z</updated>"
    '<link href="https://x.example/{n}"/><content type="html">&lt;p&gt;Words {n}.&lt;/p&gt;</content></entry>'
)
_MODULES = (
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:media="http://search.yahoo.com/mrss/" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
)
_JSON_HEAD = '{"version": "https://jsonfeed.org/version/1.1", "title": "T", "items": ['


def _rss(count: int, title: str = "Piece") -> bytes:
    items = "".join(_ITEM.format(n=n).replace("Piece", title) for n in range(count))
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<rss version="2.0" {_MODULES}><channel><title>T</title>'
    return f"{head}{items}</channel></rss>\n".encode()


def _atom(count: int) -> bytes:
    entries = "".join(_ENTRY.format(n=n) for n in range(count))
    head = '<?xml version="1.0"?>\n<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>'
    return f"{head}{entries}</feed>\n".encode()


def _json(count: int) -> bytes:
    items = ", ".join(f'{{"id": "{n}", "title": "Piece {n}", "content_text": "Words"}}' for n in range(count))
    return f"{_JSON_HEAD}{items}]}}\n".encode()


GOOD: dict[str, bytes] = {
    "golden RSS": (_GOLDEN / "rss.xml").read_bytes(),
    "golden Atom": (_GOLDEN / "atom.xml").read_bytes(),
    "golden RDF": (_GOLDEN / "rdf.xml").read_bytes(),
    "golden JSON": (_GOLDEN / "jsonfeed.json").read_bytes(),
    "RSS of one": _rss(1),
    "RSS of many": _rss(40),
    "RSS in Greek": _rss(3, "Αλάτι"),
    "RSS in Japanese": _rss(3, "塩と石板"),
    "Atom of one": _atom(1),
    "Atom of many": _atom(40),
    "JSON of one": _json(1),
    "JSON of many": _json(40),
}

_WARNING = (
    b"<br />\n<b>Warning</b>: mysql_connect(): Access denied in <b>/srv/x.php</b> on line <b>3</b><br />\n"
)
_PAGE = b"<!DOCTYPE html><html><head><title>503</title></head><body><h1>Back soon</h1></body></html>"


def _insert(body: bytes, what: bytes, part: float = 0.5) -> bytes:
    at = int(len(body) * part)
    return body[:at] + what + body[at:]


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "cut at a third": lambda body: body[: len(body) // 3],
    "cut in its last tag": lambda body: body.rstrip()[:-3],
    "cut after its first tag": lambda body: body[: body.find(b">") + 1],
    "an error page behind it": lambda body: body[: len(body) // 2] + _PAGE,
    "an error page before it": lambda body: _PAGE + body,
    "a warning before it": lambda body: _WARNING + body,
    "a script after it": lambda body: body + b"<script>count()</script>",
    "twice": lambda body: body + body,
    "a NUL": lambda body: _insert(body, b"\x00"),
    "controls": lambda body: _insert(body, b"\x01\x08\x1f"),
    "bytes that are no UTF-8": lambda body: _insert(body, b"\xff\xfe\xc3"),
    "half in Latin-1": lambda body: body.replace(b"Piece", "Pi\u00e8ce".encode("latin-1")),
    "a bare ampersand": lambda body: body.replace(b"Words", b"Salt & slate"),
    "entities of HTML": lambda body: body.replace(b"Words", b"Words&nbsp;&mdash;"),
    "an end tag too many": lambda body: _insert(body, b"</title></b>"),
    "a tag that never ends": lambda body: _insert(body, b"<b attribute="),
    "CDATA that never ends": lambda body: _insert(body, b"<![CDATA["),
    "a comment that never ends": lambda body: _insert(body, b"<!--"),
    "no quotes": lambda body: body.replace(b'"', b""),
    "upper case": bytes.upper,
    "UTF-16 without a mark": lambda body: body.decode().encode("utf-16-le"),
    "compressed": lambda body: gzip.compress(body, mtime=0),
}

#: By hand, with the reason for which each is refused; None for feeds that hold no article.
HAND_MADE: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", "empty"),
    "white space": (b" \r\n\t ", "empty"),
    "a mark only": (b"\xef\xbb\xbf", "empty"),
    "a word": (b"Forbidden", "not_a_feed"),
    "a page": (_PAGE, "not_a_feed"),
    "a page in XHTML": (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "not_a_feed"),
    "a page about feeds": (
        b"<html><p>Write &lt;rss&gt; and <code>&lt;feed&gt;</code></p></html>",
        "not_a_feed",
    ),
    "a page with a tag named rss": (b"<html><body><rss-reader></rss-reader></body></html>", "not_a_feed"),
    "a sitemap": (b'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"/>', "not_a_feed"),
    "an outline": (b'<opml version="2.0"><body/></opml>', "not_a_feed"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(64), "not_a_feed"),
    "a picture in SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_a_feed"),
    "NULs": (bytes(1000), "not_a_feed"),
    "a path": (b"/etc/passwd", "not_a_feed"),
    "an address": (b"https://feeds.example/other.xml", "not_a_feed"),
    "a bomb in gzip": (gzip.compress(bytes(3_000_000), mtime=0), "not_a_feed"),
    "a declaration only": (b'<?xml version="1.0"?>', "not_a_feed"),
    "a document type only": (b"<!DOCTYPE rss>", "not_a_feed"),
    "the beginning of a tag": (b"<rss", "not_a_feed"),
    "SOAP": (b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>', "not_a_feed"),
    "a broken point on a map": (
        (
            b'<rss version="2.0" xmlns:gml="http://www.opengis.net/gml"><channel><item><title>t</title>'
            b"<gml:pos>here</gml:pos></item></channel></rss>"
        ),
        "not_a_feed",
    ),
    "a chapter without a start": (
        (
            b'<rss version="2.0" xmlns:psc="http://podlove.org/simple-chapters"><channel><item><title>t</title>'
            b"<psc:chapters><psc:chapter/></psc:chapters></item></channel></rss>"
        ),
        "not_a_feed",
    ),
    "JSON: an empty object": (b"{}", "not_a_feed"),
    "JSON: a list": (b"[]", "not_a_feed"),
    "JSON: no version": (b'{"items": [{"id": "1"}]}', "not_a_feed"),
    "JSON: a version that is a number": (b'{"version": 1.1, "items": []}', "not_a_feed"),
    "JSON: an error": (b'{"error": "rate limited"}', "not_a_feed"),
    "JSON: cut off": (_JSON_HEAD.encode() + b'{"id": "1"', "not_a_feed"),
    "JSON: a comma too many": (_JSON_HEAD.encode() + b'{"id": "1"},]}', "not_a_feed"),
    "JSON: single quotes": (b"{'version': 'https://jsonfeed.org/version/1'}", "not_a_feed"),
    "JSON: a number beyond measure": (_JSON_HEAD.encode() + b"9" * 5000 + b"]}", "not_a_feed"),
    "JSON: levels": (_JSON_HEAD.encode() + b"[" * 50_000, "xml_limit"),
    "JSON: items that are none": (_JSON_HEAD.encode() + b'null, 1, "x", []]}', None),
    "JSON: items as an object": (_JSON_HEAD.encode().replace(b"[", b"{") + b"}}", None),
    "levels": (b'<rss version="2.0">' + b"<a>" * 100_000, "xml_limit"),
    "levels of web page": (b"<html>" + b"<div>" * 5_000, "not_a_feed"),
    "attributes": (
        b'<rss version="2.0"><channel ' + b"".join(b'a%d="" ' % n for n in range(500)) + b"/></rss>",
        "xml_limit",
    ),
    "a feed of nothing": (b'<rss version="2.0"><channel/></rss>', None),
    "an Atom feed of nothing": (b'<feed xmlns="http://www.w3.org/2005/Atom"/>', None),
    "an empty item": (b'<rss version="2.0"><channel><item/></channel></rss>', None),
}


def malformed() -> Iterator[tuple[str, str, bytes]]:
    """Every good feed with every fault, by the names of both: always the same."""
    for name, body in GOOD.items():
        for fault, spoil in FAULTS.items():
            yield name, fault, spoil(body)


def _document(inside: str, head: str = "") -> str:
    return f'{head}<rss version="2.0"><channel><title>T</title>{inside}</channel></rss>'


def _nested_entities() -> str:
    levels = "".join(f'<!ENTITY a{n} "' + f"&a{n - 1};" * 10 + '">' for n in range(1, 10))
    return f'<!DOCTYPE rss [<!ENTITY a0 "lol">{levels}]>'


_ATTRIBUTES = " ".join(f'a{n}="x"' for n in range(50_000))
#: Made to harm a parser; each is refused as xml_limit.
BOMBS: dict[str, str | bytes] = {
    "nested entities": _document("<item><title>&a9;</title></item>", _nested_entities()),
    "nested entities that nothing uses": _document("", _nested_entities()),
    "entities in an attribute": _nested_entities() + '<rss version="&a9;"><channel/></rss>',
    "one long entity, often": _document("&a;" * 20_000, f'<!DOCTYPE rss [<!ENTITY a "{"x" * 100_000}">]>'),
    "one shorter entity": _document("&a;" * 20_000, f'<!DOCTYPE rss [<!ENTITY a "{"x" * 500}">]>'),
    "entities made by an entity": _document("&b;", "<!DOCTYPE rss [<!ENTITY % a \"<!ENTITY b 'c'>\"> %a;]>"),
    "a bomb behind an error": _document("<item></title>&a9;", _nested_entities()),
    "200,000 levels": _document("<a>" * 200_000),
    "flat without end": _document("<a/>" * 100_000),
    "attributes without end": f'<rss version="2.0" {_ATTRIBUTES}><channel/></rss>',
    "attributes in XHTML": '<feed xmlns="http://www.w3.org/2005/Atom"><entry><content type="xhtml"><div '
    f'xmlns="http://www.w3.org/1999/xhtml"><p {_ATTRIBUTES}/></div></content></entry></feed>',
    "a text beyond all measure": _document("x" * 10_100_000),
    "levels of JSON": '{"version": "https://jsonfeed.org/version/1.1", "items": ' + "[" * 100_000,
    "a bomb in UTF-16": _document("<item><title>&a9;</title></item>", _nested_entities()).encode("utf-16"),
}
