"""What each parsed article is to its source: new, changed, or the same. Pure: no I/O, no clock, no dice."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from syndicate.collect.identity import Match, match_articles
from syndicate.collect.likeness import is_cosmetic
from syndicate.model import KnownArticle, Origin, ParsedArticle

__all__ = [
    "Decision",
    "SourceHistory",
    "Verdict",
    "decide_articles",
    "parse_backfill",
]

_NO_DATE: Final = datetime.max.replace(tzinfo=UTC)  # sorts last
_NUMBER: Final = re.compile(r"[0-9]{1,6}")

#: Texts of one article, beyond which its hash alone makes no further one; the figure of lemon24/reader.
_REVISIONS: Final = 24
#: How often in a day a source may go back to an earlier text of an article; our choice.
_TURNS: Final = 3
#: A source with fewer articles has no usual rate yet; our choice.
_USUAL_FROM: Final = 10
#: How much quicker than usual a source may bring new articles; our choice.
_RUSH: Final = 5.0


class Verdict(StrEnum):
    """What is to be done with an article."""

    NEW = "new"
    CHANGED = "changed"  # another text: a new revision, or an earlier one again
    SAME = "same"
    HELD = "held"  # new, and waits for the operator
    EXCLUDED = "excluded"  # new, and a rule keeps it out; it is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reason.

    Reasons of NEW: new, baseline, backfill, guid_reused, link_reused; of CHANGED: edited, reverted; of SAME:
    unchanged, cosmetic, churning, late, repeated; of both: guid_flip, moved; of HELD: flood, approval; of
    EXCLUDED: the rule.
    """

    verdict: Verdict
    reason: str
    article: ParsedArticle
    known_id: int | None = None  #: the stored article that it is; None if it is new or aside
    aside_guid: str = ""  #: the guid under which it is held, excluded or seen, if it is
    origin: Origin | None = None  #: how it comes in, or would; None unless it is new
    renamed_to: str = ""  #: the guid that it has from now on, its former one being an alias
    dated_at: datetime | None = None  #: a later date of change by its source than is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHistory:
    """What is usual for a source, by which a flood is told from news."""

    articles: int = 0  #: accepted so far
    new_per_day: float = 0.0  #: lately, without the baseline
    days_since_success: float = 0.0  #: our own downtime is in it
    flood_limit: int = 10  #: so many new ones at once are never a flood


def decide_articles(
    parsed: Sequence[ParsedArticle],
    known: Sequence[KnownArticle],
    *,
    is_first: bool,
    backfill: str,
    home_url: str = "",
    texts: Mapping[int, str] | None = None,
    unread: Collection[str] = (),
    excluded: Mapping[str, str] | None = None,
    needs_approval: bool = False,
    history: SourceHistory | None = None,
    is_partial: bool = False,
    may_be_late: bool = False,
) -> list[Decision]:
    """A decision for every parsed article: the known ones in the document's order, then the new ones.

    New ones are ordered by publication, oldest first, so that sequence grows with it; those without a date
    come last, in the document's order. ``is_first`` says that nothing was collected from the source before:
    then new ones are its baseline, and ``backfill`` (``none``, ``all`` or a number) says how many of the
    last of them are to be mailed nevertheless. Absence decides nothing: a feed shows its latest articles.

    ``known`` are the stored articles and those aside, ``texts`` the stored HTML of those in
    ``identity.list_doubtful`` by number, ``unread`` the guids of what the source still holds and did not send
    again, ``excluded`` the reasons of the rules by guid. ``is_partial`` says that the document holds only
    what is new (RFC 3229, a push), ``may_be_late`` that documents come twice or out of order (a push).
    """
    matches = match_articles(parsed, known, home_url=home_url, texts=texts, unread=unread)
    new = [m for m in matches if m.is_new]
    shares_guid = is_partial or bool(unread) or any(m.shares_guid for m in matches)
    accepted = _accept(new, is_first=is_first, backfill=backfill)
    return [
        *(_compare(m, texts or {}, may_be_late=may_be_late) for m in matches if not m.is_new),
        *_hold(
            _exclude(accepted, excluded or {}),
            None if is_first else history,
            needs_approval=needs_approval,
            shares_guid=shares_guid,
        ),
    ]


def parse_backfill(text: str) -> str:
    """The operator's choice in its stored form: ``none``, ``all``, or a number. Raises ValueError."""
    choice = text.strip().lower()
    if choice in {"none", "all"}:
        return choice
    if _NUMBER.fullmatch(choice):
        return str(int(choice)) if int(choice) else "none"
    raise ValueError(f"unknown backfill '{text}'; one of none, all, or a number such as 5")


def _compare(match: Match, texts: Mapping[int, str], *, may_be_late: bool) -> Decision:
    article, known = match.article, match.known
    if known is None or match.how == "repeated":
        known_id = None if known is None or known.is_aside else known.id
        return Decision(verdict=Verdict.SAME, reason="repeated", article=article, known_id=known_id)
    is_redated = _is_later(article.updated_at, known.updated_at)
    verdict, reason = _judge(
        article, known, texts.get(known.id), is_redated=is_redated, may_be_late=may_be_late
    )
    return Decision(
        verdict=verdict,
        reason=reason if match.how in {"guid", "alias"} else match.how,
        article=article,
        known_id=None if known.is_aside else known.id,
        aside_guid=known.guid if known.is_aside else "",
        renamed_to="" if match.how == "guid" else article.guid,
        dated_at=article.updated_at if is_redated else None,
    )


def _judge(
    article: ParsedArticle, known: KnownArticle, text: str | None, *, is_redated: bool, may_be_late: bool
) -> tuple[Verdict, str]:
    if article.content_hash == known.content_hash:
        return Verdict.SAME, "unchanged"
    is_return = article.content_hash in known.earlier_hashes
    if may_be_late and (_is_older(article, known) or (is_return and not is_redated)):
        return Verdict.SAME, "late"
    if not is_return and text is not None and is_cosmetic(article, known, text):
        return Verdict.SAME, "cosmetic"
    is_restless = known.turns >= _TURNS if is_return else known.revisions >= _REVISIONS
    if is_restless and not is_redated:
        return Verdict.SAME, "churning"
    return Verdict.CHANGED, "reverted" if is_return else "edited"


def _is_older(article: ParsedArticle, known: KnownArticle) -> bool:
    mine, stored = article.updated_at or article.published_at, known.updated_at or known.published_at
    return mine is not None and stored is not None and mine < stored


def _is_later(at: datetime | None, than: datetime | None) -> bool:
    return at is not None and (than is None or at > than)


def _accept(new: Sequence[Match], *, is_first: bool, backfill: str) -> list[Decision]:
    ordered = sorted(new, key=lambda match: match.article.published_at or _NO_DATE)
    if not is_first:
        return [
            Decision(verdict=Verdict.NEW, reason=m.how, article=m.article, origin=Origin.NEW) for m in ordered
        ]
    mailed = {"none": 0, "all": len(ordered)}.get(backfill)
    first_mailed = len(ordered) - (int(backfill) if mailed is None else mailed)
    origins = [Origin.BASELINE if n < first_mailed else Origin.BACKFILL for n in range(len(ordered))]
    return [
        Decision(verdict=Verdict.NEW, reason=origin.value, article=match.article, origin=origin)
        for match, origin in zip(ordered, origins, strict=True)
    ]


def _exclude(accepted: Sequence[Decision], excluded: Mapping[str, str]) -> list[Decision]:
    return [
        replace(d, verdict=Verdict.EXCLUDED, reason=excluded[d.article.guid])
        if d.article.guid in excluded
        else d
        for d in accepted
    ]


def _hold(
    accepted: Sequence[Decision], history: SourceHistory | None, *, needs_approval: bool, shares_guid: bool
) -> list[Decision]:
    """Those that would be mailed wait, if the operator wants to see them first or there are too many."""
    mailed = [d.verdict is Verdict.NEW and d.origin is not Origin.BASELINE for d in accepted]
    if needs_approval:
        reason = "approval"
    elif history is not None and _is_flood(sum(mailed), history, shares_guid=shares_guid):
        reason = "flood"
    else:
        return list(accepted)
    return [
        replace(d, verdict=Verdict.HELD, reason=reason) if would_be_mailed else d
        for d, would_be_mailed in zip(accepted, mailed, strict=True)
    ]


def _is_flood(count: int, history: SourceHistory, *, shares_guid: bool) -> bool:
    """Whether so many new articles look like old ones under new names.

    A document that shares no guid with what is stored is suspicious with two, unless the source is so quick,
    or we were away for so long, that nothing of the last document can be left in it.
    """
    usual = _RUSH * history.new_per_day * history.days_since_success
    return history.articles >= _USUAL_FROM and count > max(history.flood_limit if shares_guid else 1, usual)
