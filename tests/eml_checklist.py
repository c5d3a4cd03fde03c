"""The checklist of a finished digest, from its bytes alone: numbered rules, each one function.

Rules that need a key, DNS, a running server or a second message are not here. Rules that compare two
messages, or judge style, are tests of their own.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from functools import cached_property
from itertools import pairwise
from urllib.parse import urlsplit

from lxml import etree

__all__ = ["RULES", "Eml", "check_eml"]


@dataclass(frozen=True)
class Eml:
    """One message, its bytes and what can be read out of them."""

    raw: bytes

    @cached_property
    def message(self) -> Message:
        return email.message_from_bytes(self.raw, policy=email.policy.compat32)

    @cached_property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @cached_property
    def head_without_to(self) -> bytes:
        """To may have an address beyond ASCII (RFC 6532): one line with nothing else, in sound UTF-8."""
        return b"\r\n".join(
            line
            for line in self.head.split(b"\r\n")
            if not re.fullmatch(rb"To: [^\x00-\x20\x7f]+", line)
            or not line.decode("utf-8", "surrogateescape").isprintable()
        )

    @cached_property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @cached_property
    def html_bytes(self) -> bytes:
        return self._part("html")

    @cached_property
    def html(self) -> str:
        return self.html_bytes.decode("utf-8", "replace").replace("\r\n", "\n")

    @cached_property
    def text(self) -> str:
        return self._part("plain").decode("utf-8", "replace").replace("\r\n", "\n")

    @cached_property
    def root(self) -> etree._Element:
        return etree.fromstring(self.html.strip() or "<html><body><p></p></body></html>", etree.HTMLParser())

    @cached_property
    def unsubscribe_uri(self) -> str:
        return str(self.message["List-Unsubscribe"] or "").strip("<>")

    @cached_property
    def visible(self) -> str:
        texts = self.root.xpath(
            "//body//text()[not(ancestor::style) and not(ancestor::*[contains(@style, 'display:none')])]"
        )
        return " ".join(" ".join(texts).split())

    def all(self, name: str) -> list[str]:
        return [str(v) for v in self.message.get_all(name, [])]

    def elements(self, *tags: str) -> Iterator[etree._Element]:
        return self.root.iter(*tags)

    def _part(self, subtype: str) -> bytes:
        for part in self.message.walk():
            if part.get_content_type() == f"text/{subtype}":
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                return payload
        return b""


Rule = Callable[[Eml], Iterator[str]]
RULES: dict[int, Rule] = {}


def rule(number: int) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES[number] = function
        return function

    return register


def check_eml(raw: bytes) -> list[str]:
    """What is wrong with the message: ``"<number>: <what>"`` by number; an empty list if nothing is."""
    eml = Eml(raw)
    return [f"{number}: {finding}" for number, check in sorted(RULES.items()) for finding in check(eml)]


@rule(1)
def lines_end_in_crlf(eml: Eml) -> Iterator[str]:
    if re.search(rb"\r(?!\n)|(?<!\r)\n", eml.raw) or not eml.raw.endswith(b"\r\n"):
        yield "a line does not end in CRLF"


@rule(2)
def lines_are_short(eml: Eml) -> Iterator[str]:
    for line in eml.head.split(b"\r\n"):
        limit = 998 if line.lower().startswith((b"list-", b"to:", b"message-id:", b"dkim-")) else 78
        if len(line) > limit:
            yield f"header line of {len(line)} bytes: {line[:40]!r}"
    if any(len(line) > 76 for line in eml.body.split(b"\r\n")):
        yield "a body line is longer than 76 bytes"


@rule(3)
def it_is_seven_bit(eml: Eml) -> Iterator[str]:
    if b"\0" in eml.raw or not (eml.head_without_to + eml.body).isascii():
        yield "NUL or a byte beyond ASCII"


@rule(4)
def each_header_stands_once(eml: Eml) -> Iterator[str]:
    for name in ("From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type"):
        if len(eml.all(name)) != 1:
            yield f"{len(eml.all(name))} headers {name}"
    for name in ("Bcc", "Cc", "Return-Path", "Sender"):
        if eml.all(name):
            yield f"a header {name}"


@rule(5)
def from_is_one_mailbox(eml: Eml) -> Iterator[str]:
    for name in ("From", *(["Reply-To"] if eml.all("Reply-To") else [])):
        boxes = getaddresses([re.sub(r"\r\n", "", v) for v in eml.all(name)])
        if len(boxes) != 1 or not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+\w", boxes[0][1]):
            yield f"{name} is not one mailbox"


@rule(6)
def date_has_a_numeric_zone(eml: Eml) -> Iterator[str]:
    value = (eml.all("Date") or [""])[0]
    if not re.search(r" [+-]\d{4}$", value):
        yield f"Date {value!r} has no numeric zone"
        return
    parsedate_to_datetime(value)


@rule(7)
def message_id_is_well_formed(eml: Eml) -> Iterator[str]:
    value = (eml.all("Message-ID") or [""])[0]
    match = re.fullmatch(r"<[^<>\s@]+@([^<>\s@]+)>", value)
    sender = getaddresses(eml.all("From"))[0][1].rpartition("@")[2] if eml.all("From") else ""
    if not match or match[1].lower() != sender.lower():
        yield f"Message-ID {value!r}"


@rule(8)
def headers_are_ascii_or_encoded_words(eml: Eml) -> Iterator[str]:
    if not eml.head_without_to.isascii():
        yield "a header is not ASCII"
    for word in re.findall(rb"=\?.*?\?[bqBQ]\?.*?\?=", eml.head):
        if len(word) > 75:
            yield f"an encoded word of {len(word)} characters"
    for name in (*[n for n in eml.message if n.lower().startswith("list-")], "Message-ID", "To"):
        if any("=?" in v for v in eml.all(name)):
            yield f"{name} is encoded"


@rule(9)
def headers_are_those_we_write(eml: Eml) -> Iterator[str]:
    known = {
        "to", "message-id", "subject", "from", "reply-to", "date", "list-id", "list-unsubscribe",
        "list-unsubscribe-post", "list-post", "list-archive", "precedence", "auto-submitted", "mime-version",
        "content-type", "feedback-id", "dkim-signature", "received",
    }  # fmt: skip
    for name in eml.message:
        if name.lower() not in known:
            yield f"an unknown header {name}"


@rule(10)
def list_id_is_well_formed(eml: Eml) -> Iterator[str]:
    values = eml.all("List-Id")
    if len(values) != 1 or not re.fullmatch(r'(?:[ -~]+ )?<[^\s<>"]{1,255}\.[^\s<>"]+>', values[0]):
        yield f"List-Id {values}"


@rule(11)
def list_unsubscribe_is_one_https_uri(eml: Eml) -> Iterator[str]:
    values = eml.all("List-Unsubscribe")
    if len(values) != 1 or not re.fullmatch(r"<https://[^\s<>,]+>", values[0]):
        yield f"List-Unsubscribe {values}"


@rule(12)
def list_unsubscribe_post_is_exact(eml: Eml) -> Iterator[str]:
    if eml.all("List-Unsubscribe-Post") != ["List-Unsubscribe=One-Click"]:
        yield f"List-Unsubscribe-Post {eml.all('List-Unsubscribe-Post')}"


@rule(13)
def unsubscribe_uri_is_opaque(eml: Eml) -> Iterator[str]:
    address = (eml.all("To") or [""])[0]
    if "@" in eml.unsubscribe_uri or (
        address and address.partition("@")[0] in eml.unsubscribe_uri.split("/")
    ):
        yield "the unsubscribe URI holds the address"
    if not re.search(r"[A-Za-z0-9_.~-]{22,}", eml.unsubscribe_uri):  # 22 characters of base64 are 128 bits
        yield "the unsubscribe URI has no long token"


@rule(15)
def list_headers_are_uris(eml: Eml) -> Iterator[str]:
    if eml.all("List-Post") != ["NO"]:
        yield f"List-Post {eml.all('List-Post')}"
    for name in ("List-Help", "List-Owner", "List-Archive"):
        for value in eml.all(name):
            if not re.fullmatch(r"<(?:https|mailto):[^\s<>]+>", value):
                yield f"{name} {value}"


@rule(16)
def it_says_that_it_is_automatic(eml: Eml) -> Iterator[str]:
    if eml.all("Precedence") not in (["bulk"], ["list"]):
        yield f"Precedence {eml.all('Precedence')}"
    if any(v != "auto-generated" for v in eml.all("Auto-Submitted")):
        yield f"Auto-Submitted {eml.all('Auto-Submitted')}"


@rule(17)
def feedback_id_is_for_sums(eml: Eml) -> Iterator[str]:
    values = eml.all("Feedback-ID")
    fields = values[0].split(":") if values else []
    if len(values) != 1 or len(fields) > 4 or len(set(fields)) < len(fields):
        yield f"Feedback-ID {values}"
    if not fields or not re.fullmatch(r"[A-Za-z0-9]{5,15}", fields[-1]):
        yield f"Feedback-ID {values} has no sender of 5 to 15 characters"


@rule(18)
def no_header_of_ours_holds_an_address(eml: Eml) -> Iterator[str]:
    for name, value in eml.message.items():
        if name.lower().startswith("x-") and "@" in str(value):
            yield f"{name} holds an address"


@rule(23)
def text_comes_before_html(eml: Eml) -> Iterator[str]:
    kinds = [(p.get_content_type(), p.get_content_charset()) for p in eml.message.walk()]
    if kinds != [("multipart/alternative", None), ("text/plain", "utf-8"), ("text/html", "utf-8")]:
        yield f"parts {kinds}"


@rule(24)
def text_part_is_worth_reading(eml: Eml) -> Iterator[str]:
    words, shown = len(eml.text.split()), len(eml.visible.split())
    if len(eml.text) < 100 or words < shown * 0.2:
        yield f"the text part has {words} words, the HTML {shown}"
    if eml.unsubscribe_uri not in eml.text.split():
        yield "the text part has no whole unsubscribe URI"
    if re.search(r"</?(?:p|a|td|div|br|span)\b[^>]*>|&(?:amp|nbsp|lt|gt|#\d+);", eml.text):
        yield "the text part has tags or entities"


@rule(25)
def parts_decode_and_have_content(eml: Eml) -> Iterator[str]:
    boundary = eml.message.get_boundary() or ""
    if "=_" not in boundary or boundary in eml.text or boundary in eml.html:
        yield "the boundary can occur in a part"
    if not eml.text.strip() or not eml.html.strip():
        yield "a part is empty"
    if "\ufffd" in eml.text + eml.html:
        yield "a part is not UTF-8"
    if eml.message.defects or any(p.defects for p in eml.message.walk()):
        yield "a part is defective"


@rule(27)
def html_is_not_clipped(eml: Eml) -> Iterator[str]:
    if len(eml.html_bytes) > 102_400:
        yield f"{len(eml.html_bytes)} bytes of HTML"


@rule(28)
def unsubscribe_link_is_seen(eml: Eml) -> Iterator[str]:
    links = [a for a in eml.elements("a") if a.get("href") == eml.unsubscribe_uri]
    if not any("".join(a.itertext()).strip() for a in links):
        yield "no visible unsubscribe link"
    if eml.html_bytes.find(eml.unsubscribe_uri.encode()) > 100_000:
        yield "the unsubscribe link comes too late"


@rule(29)
def document_is_declared(eml: Eml) -> Iterator[str]:
    if not eml.html.lstrip().lower().startswith("<!doctype html>"):
        yield "no HTML5 doctype"
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", eml.root.get("lang", "")):
        yield f"lang {eml.root.get('lang')!r}"
    if eml.root.get("dir") not in {"ltr", "rtl"}:
        yield "no dir"
    if not eml.root.xpath("//meta[@charset='utf-8']") or not (eml.root.findtext("head/title") or "").strip():
        yield "no charset or no title"


@rule(30)
def tables_are_for_layout(eml: Eml) -> Iterator[str]:
    for table in eml.elements("table"):
        if table.get("role") not in {"presentation", "none"}:
            yield "a table without role"
    if next(eml.elements("th", "caption"), None) is not None:
        yield "a th or caption"


@rule(31)
def images_are_complete(eml: Eml) -> Iterator[str]:
    for img in eml.elements("img"):
        if img.get("alt") is None or not img.get("width") or not img.get("height"):
            yield "an image without alt, width or height"
        if not img.get("src", "").startswith("https://"):
            yield f"an image from {img.get('src', '')[:40]!r}"


@rule(32)
def links_lead_somewhere(eml: Eml) -> Iterator[str]:
    for a in eml.elements("a"):
        if not re.match(r"https://[^/\s]+|mailto:|tel:", a.get("href", "")):
            yield f"a link to {a.get('href')!r}"
        name = a.get("aria-label") or "".join(a.itertext())
        if not name.strip() or name.strip().lower() in {"click here", "here", "link"}:
            yield f"a link named {name!r}"
    for part in (eml.html, eml.text):
        if re.search(r"\{\{|\{%|%%|zq[0-9a-f]{10}[XF]\d", part):
            yield "a leftover placeholder"


@rule(33)
def link_text_tells_the_truth(eml: Eml) -> Iterator[str]:
    for a in eml.elements("a"):
        text = "".join(a.itertext()).strip()
        if re.fullmatch(r"(?:https?://)?[\w-]+(?:\.[\w-]+)+(?:/\S*)?", text):
            host = urlsplit(text if "//" in text else f"//{text}").hostname
            if host != urlsplit(a.get("href", "")).hostname:
                yield f"{text!r} leads to {a.get('href')!r}"


@rule(34)
def preheader_is_first_hidden_and_padded(eml: Eml) -> Iterator[str]:
    first = eml.root.find("body")[0]
    style = first.get("style", "").replace(" ", "")
    text = "".join(first.itertext())
    shown = re.split("[\u034f\u200c]", text)[0].strip()
    if "display:none" not in style or "mso-hide:all" not in style:
        yield "the first element is not a hidden preheader"
    if not 40 <= len(shown) <= 130 or "\u034f\u200c\u00a0" * 10 not in text:
        yield f"a preheader of {len(shown)} characters"
    if shown == (eml.root.findtext("head/title") or ""):
        yield "the preheader repeats the subject"


@rule(35)
def headings_do_not_jump(eml: Eml) -> Iterator[str]:
    levels = [int(h.tag[1]) for h in eml.elements("h1", "h2", "h3", "h4", "h5", "h6")]
    if levels[:1] != [1] or any(b > a + 1 for a, b in pairwise(levels)):
        yield f"heading levels {levels}"


@rule(36)
def nothing_active(eml: Eml) -> Iterator[str]:
    for element in eml.elements(
        "script", "form", "iframe", "object", "embed", "video", "link", "base", "svg"
    ):
        yield f"a <{element.tag}>"
    for element in eml.root.iter(etree.Element):
        yield from (f"an attribute {name}" for name in element.attrib if name.startswith("on"))
    if "@import" in _styles(eml):
        yield "an @import"


@rule(37)
def important_stands_where_it_works(eml: Eml) -> Iterator[str]:
    for element in eml.root.iterfind(".//*[@style]"):
        if "!important" in element.get("style"):
            yield f"!important inline at <{element.tag}>"
    if "@media" not in _styles(eml):
        yield "no @media"
    for block in re.findall(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*)", _styles(eml)):
        for declaration in re.findall(r"[{;]\s*([\w-]+\s*:[^;}]+)", block):
            if "!important" not in declaration:
                yield f"in @media without !important: {declaration.strip()}"


@rule(38)
def dark_mode_is_provided(eml: Eml) -> Iterator[str]:
    for name in ("color-scheme", "supported-color-schemes"):
        if not eml.root.xpath(f"//meta[@name='{name}']"):
            yield f"no meta {name}"
    for needed in ("prefers-color-scheme: dark", "[data-ogsc]", "[data-ogsb]"):
        if needed not in _styles(eml):
            yield f"no rule for {needed}"


@rule(39)
def style_block_is_small_and_flat(eml: Eml) -> Iterator[str]:
    first = next(eml.elements("style"), None)
    if first is None or len(first.text or "") > 8_192:
        yield "no first style block, or one beyond 8,192 characters"
    css, depth = _styles(eml), 0
    for token in re.findall(r"@media|[{}]", css):
        if token == "@media" and depth:
            yield "a nested @media"
        depth += {"{": 1, "}": -1}.get(token, 0)
    if depth:
        yield "braces of the style block do not balance"


@rule(40)
def conditional_comments_balance(eml: Eml) -> Iterator[str]:
    begins = len(re.findall(r"<!--\[if [^\]]*\]>", eml.html))
    ends = len(re.findall(r"<!\[endif\]-->", eml.html))
    if begins != ends or re.search(r"(?<!--)<!\[if", eml.html):
        yield f"{begins} conditional comments begin, {ends} end"


@rule(41)
def text_is_large_enough(eml: Eml) -> Iterator[str]:
    for element in eml.root.iterfind(".//*[@style]"):
        style = _declarations(element)
        if "display" in style and style["display"] == "none":
            continue
        size = style.get("font-size", "13px")
        if float(size.removesuffix("px")) < 13:
            yield f"<{element.tag}> of {size}"
        if "font-size" in style and "line-height" not in style:
            yield f"<{element.tag}> without line-height"
        if float(style.get("max-width", "0px").removesuffix("px")) > 640:
            yield f"<{element.tag}> is wider than 640px"


@rule(42)
def it_says_who_writes_and_why(eml: Eml) -> Iterator[str]:
    name = (eml.root.findtext(".//h1/a") or eml.root.findtext(".//h1") or "?").strip()
    for part in (" ".join(eml.text.split()), eml.visible):
        if "You get this because you subscribed to " + " ".join(name.split()) not in part:
            yield "a part does not say why the reader gets it"


def _styles(eml: Eml) -> str:
    return "\n".join(style.text or "" for style in eml.elements("style"))


def _declarations(element: etree._Element) -> dict[str, str]:
    pairs = (d.partition(":") for d in element.get("style", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}
