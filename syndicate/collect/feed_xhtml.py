"""XHTML inside Atom, written out the way feedparser writes it. Cleans nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from xml.sax.saxutils import escape  # writes XML only

from lxml import etree

from syndicate.collect.feed_names import XHTML, NotSure, local_name, namespace_of

__all__ = ["VOID", "inner_xhtml"]

#: Elements that HTML never closes: ``</br>`` would be read as another ``<br>``.
VOID: Final = frozenset(["area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"])
_NO_PROSE: Final = frozenset(["body", "math", "svg"])
_ATTRIBUTES: Final = 100  # of one element; lxml takes quadratic time to give them
_QUOTE: Final = {'"': "&quot;"}
_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def inner_xhtml(element: etree._Element, visit: Callable[[etree._Element], str]) -> str:
    """What is inside the one <div> of an XHTML text construct (RFC 4287 section 3.1.1.3).

    ``visit`` is shown every element. Raises NotSure for anything but that <div> of plain XHTML elements.
    """
    if len(element) != 1 or element[0].tag != f"{{{XHTML}}}div":
        raise NotSure("XHTML without its div")
    div = element[0]
    if (element.text or "").strip() or (div.tail or "").strip():
        raise NotSure("text beside the div of XHTML")
    parts: list[str] = []
    _write(div, parts, visit)
    return "".join(parts[1:-1]).strip()


def _write(element: etree._Element, parts: list[str], visit: Callable[[etree._Element], str]) -> None:
    visit(element)
    name = local_name(element.tag).lower()
    if namespace_of(element.tag) != XHTML or name in _NO_PROSE or len(element.attrib) > _ATTRIBUTES:
        raise NotSure(f"the element {name} in XHTML")
    attributes = "".join(
        f' {_attribute(str(key))}="{escape(str(value), _QUOTE)}"' for key, value in element.items()
    )
    parts += [f"<{name}{attributes}>", escape(element.text or "")]
    for child in element:
        _write(child, parts, visit)
        parts.append(escape(child.tail or ""))
    if name not in VOID:
        parts.append(f"</{name}>")


def _attribute(name: str) -> str:
    if name == _XML_LANG:
        return "xml:lang"
    if name.startswith("{") or name.lower() == "base":
        raise NotSure("an attribute in XHTML")
    return name.lower()
