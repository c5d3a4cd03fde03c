"""Which articles of a source are taken, by rules that an operator writes, and under which topics. Pure.

A rule is a line: ``exclude title /sponsored|advert/``, ``include category sport``, ``exclude language de``,
``exclude author "Press Office"``. Patterns are RE2's: their time is linear in the text, so that no rule hangs
on a stranger's title. What an article that is stored already becomes is not decided here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it ships no types

from syndicate.collect.parsed import labels
from syndicate.model import ParsedArticle

__all__ = ["Action", "Rule", "Trait", "decide_filter", "map_topics", "parse_rule"]

_RULE: Final = re.compile(r"(\w+)\s+(\w+)\s+(\S.*)")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BARE: Final = re.compile(r'[^\s"/\\][^\\]*')
_EXAMPLE: Final = "exclude title /sponsored/"
#: Characters of a rule; our choice.
_LIMIT: Final = 500


class Action(StrEnum):
    """What a rule does with the articles that it fits."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


class Trait(StrEnum):
    """What of an article a rule looks at."""

    TITLE = "title"
    AUTHOR = "author"
    CATEGORY = "category"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. As text it is the line that ``parse_rule`` reads."""

    action: Action
    trait: Trait
    text: str  #: words, or a pattern
    is_pattern: bool = False

    def __str__(self) -> str:
        if self.is_pattern:
            value = f"/{self.text}/"
        elif _BARE.fullmatch(self.text):
            value = self.text
        else:
            value = '"' + re.sub(r'(["\\])', r"\\\1", self.text) + '"'
        return f"{self.action} {self.trait} {value}"

    def fits(self, article: ParsedArticle) -> bool:
        """Whether the article is one that this rule means.

        A pattern is sought anywhere in the text. Words have to stand in a title or an author's name as whole
        words, and to be a whole category; a language means its regional forms too (RFC 4647 section 3.3.1).
        All of it whatever the case.
        """
        return any(self._fits_text(text) for text in _texts(article, self.trait))

    def _fits_text(self, text: str) -> bool:
        if self.is_pattern:
            return _compile(self.text).search(text) is not None
        words, mine = _fold(text), _fold(self.text)
        if self.trait is Trait.CATEGORY:
            return words == mine
        if self.trait is Trait.LANGUAGE:
            return words == mine or words.startswith(f"{mine}-")
        return _has_words(words, mine)


def parse_rule(text: str) -> Rule:
    """The rule that a line means. Raises ValueError with one line that says what is wrong with it."""
    line = text.strip()
    found = _RULE.fullmatch(line)
    if found is None or len(line) > _LIMIT or not line.isprintable():
        raise ValueError(f"'{_shown(line)}' is no rule; write it like: {_EXAMPLE}")
    action, trait, value = found.groups()
    if action.lower() not in set(Action):
        raise ValueError(f"a rule begins with include or exclude, not '{_shown(action)}'")
    if trait.lower() not in set(Trait):
        raise ValueError(f"a rule is about {', '.join(Trait)}, not '{_shown(trait)}'")
    words, is_pattern = _parse_value(value)
    return Rule(action=Action(action.lower()), trait=Trait(trait.lower()), text=words, is_pattern=is_pattern)


def decide_filter(article: ParsedArticle, rules: Sequence[Rule]) -> str:
    """Why an article is kept out: the rule that excludes it, or that none includes it; empty if it is not."""
    excluding = (rule for rule in rules if rule.action is Action.EXCLUDE and rule.fits(article))
    first = next(excluding, None)
    if first is not None:
        return str(first)
    including = [rule for rule in rules if rule.action is Action.INCLUDE]
    return "no include rule fits" if including and not any(r.fits(article) for r in including) else ""


def map_topics(article: ParsedArticle, mapping: Mapping[str, str]) -> ParsedArticle:
    """The article under our labels: ``mapping`` has the source's label and ours, or nothing to drop it.

    Labels are compared whatever their case and spacing; those that are not in it stay as they are.
    """
    ours = {_fold(label): new for label, new in mapping.items()}
    tags = labels(ours.get(_fold(tag), tag) for tag in article.tags)
    return article if tags == article.tags else replace(article, tags=tags)


def _parse_value(value: str) -> tuple[str, bool]:
    if value.startswith("/"):
        if len(value) < 3 or not value.endswith("/"):
            raise ValueError(
                f"the pattern {_shown(value)} has to stand between two slashes, like /sponsored/"
            )
        try:
            _compile(value[1:-1])
        except re2.error as error:
            raise ValueError(f"the pattern {_shown(value)} cannot be used: {_reason(error)}") from None
        return value[1:-1], True
    quoted = _QUOTED.fullmatch(value)
    words = re.sub(r"\\(.)", r"\1", quoted.group(1)) if quoted else value
    if not words.strip() or not (quoted or _BARE.fullmatch(value)):
        raise ValueError(f'{_shown(value)} is neither words nor a pattern; put words into quotes: "..."')
    return " ".join(words.split()), False


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = 2**20  # bytes; a pattern that needs more is refused
    return re2.compile(pattern, options)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _texts(article: ParsedArticle, trait: Trait) -> Iterable[str]:
    if trait is Trait.TITLE:
        return (article.title,)
    if trait is Trait.AUTHOR:
        return (text for author in article.authors for text in (author.name, author.email) if text)
    return article.tags if trait is Trait.CATEGORY else (article.language,)


def _has_words(text: str, words: str) -> bool:
    """Whether words stand in a text, whole where their script parts words by spaces and has two cases."""
    before = r"(?<!\w)" if _has_case(words[0]) else ""
    after = r"(?!\w)" if _has_case(words[-1]) else ""
    return re.search(before + re.escape(words) + after, text) is not None


def _has_case(letter: str) -> bool:
    return letter.upper() != letter.lower() or letter.isdigit()


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shown(text: str) -> str:
    return ascii(text)[1:-1][:80] if not text.isprintable() else text[:80]
