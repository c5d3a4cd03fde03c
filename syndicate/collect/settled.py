"""Whether sanitised HTML would be read back as it stands. Changes nothing; only certain when it says yes.

HTML is forgiving: what one pass writes, the next may read as another tree (an ``<a>`` in an ``<a>``, a
``<div>`` in a ``<p>``). A second pass would show, and costs as much as the first. Nearly every article is of
form for which the parsing rules of the HTML standard (section 13.2.6) leave only one reading; that is quick
to see.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_settled"]

_NAME: Final = re.compile(r"<(/?[a-z][a-z0-9]*)")  # nh3 writes "<" for nothing else, not even in attributes
_VOID: Final = frozenset(["br", "img"])
_CLOSES_P: Final = frozenset(
    "blockquote dd div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre ul".split()  # noqa: SIM905 - shorter
)
_HEADINGS: Final = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
#: The only parents below which these are certain to stay where they are.
_PARENTS: Final = {"li": frozenset(["ul", "ol"]), "dd": frozenset(["dl"]), "dt": frozenset(["dl"])}
#: Their rules are too many to repeat here.
_LEFT_OPEN: Final = frozenset(["caption", "rp", "rt", "table", "tbody", "td", "tfoot", "th", "thead", "tr"])
_DEPTH: Final = 100


def is_settled(markup: str) -> bool:
    """Whether HTML as nh3 writes it means the same tree when it is parsed again. False: perhaps not.

    What nh3 writes is a tree, so each end tag belongs to the element that was opened last. A line end at the
    start of a ``<pre>`` is ``sanitise``'s affair.
    """
    opened: list[str] = []
    for name in _NAME.findall(markup):
        if name[0] == "/":
            if not opened:
                return False
            opened.pop()
        elif name in _CLOSES_P:
            if "p" in opened or not _has_its_place(name, opened):
                return False
            if name != "hr":
                opened.append(name)
        elif name not in _VOID:
            if name in _LEFT_OPEN or (name == "a" and "a" in opened):
                return False
            opened.append(name)
            if len(opened) > _DEPTH:
                return False
    return not opened and "\r" not in markup


def _has_its_place(name: str, opened: list[str]) -> bool:
    if name in _PARENTS:
        return bool(opened) and opened[-1] in _PARENTS[name]
    return len(opened) < _DEPTH and (name not in _HEADINGS or _HEADINGS.isdisjoint(opened))
