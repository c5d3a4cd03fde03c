"""Which stored article each parsed one is, whatever its source calls it now. Pure; judges no changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from syndicate.collect.likeness import is_mostly_other, same_title, text_key
from syndicate.collect.links import canonical_link, is_home_page
from syndicate.collect.parsed import choose_guid
from syndicate.model import HeldArticle, KnownArticle, ParsedArticle

__all__ = ["Match", "known_aside", "list_doubtful", "match_articles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a parsed article is."""

    article: ParsedArticle  #: under a longer guid, if its own belongs to another article
    known: KnownArticle | None = None  #: None: it was never seen before
    how: str  #: guid, alias, guid_flip, moved; repeated; new, guid_reused, link_reused

    @property
    def is_new(self) -> bool:
        """Whether it is an article that was never seen before, here or in store."""
        return self.known is None and self.how != "repeated"

    @property
    def shares_guid(self) -> bool:
        """Whether its source has called it so before."""
        return self.known is not None and self.how in {"guid", "alias", "repeated"}


def match_articles(
    parsed: Sequence[ParsedArticle],
    known: Sequence[KnownArticle],
    *,
    home_url: str = "",
    texts: Mapping[int, str] | None = None,
    unread: Collection[str] = (),
) -> list[Match]:
    """What each parsed article is, in their order. Repetitions apart, no two are the same known article.

    The guid says it, the article's own or a former one; else the link; else title and text. A link or a text
    counts only if it is once in the document and once in store, is not the front page, and belongs to no
    article that the document holds anyway. ``texts`` are the stored texts of those in ``list_doubtful``;
    ``unread`` are the guids of what the source still holds and did not send again.
    """
    return _Matching(parsed, known, home_url, texts or {}, unread).run()


def list_doubtful(
    parsed: Sequence[ParsedArticle], known: Sequence[KnownArticle], *, home_url: str = ""
) -> list[int]:
    """The numbers of known articles whose stored text tells what has become of them: of those that seem to
    have another content than before.
    """
    matches = match_articles(parsed, known, home_url=home_url)
    return [
        m.known.id
        for m in matches
        if m.known and not m.known.is_aside and m.article.content_hash != m.known.content_hash
    ]


def known_aside(held: HeldArticle) -> KnownArticle:
    """A held, excluded or seen article in the form with which parsed ones are compared."""
    article = held.article
    return KnownArticle(
        id=0,
        guid=held.guid,
        url=article.url if article else "",
        content_hash=held.content_hash,
        earlier_hashes=frozenset(),
        title=article.title if article else "",
        text_key=text_key(article) if article else "",
        published_at=article.published_at if article else None,
        updated_at=article.updated_at if article else None,
        is_aside=True,
    )


class _Matching:
    """One document against one store. A known article is claimed by the first that turns out to be it."""

    def __init__(
        self,
        parsed: Sequence[ParsedArticle],
        known: Sequence[KnownArticle],
        home_url: str,
        texts: Mapping[int, str],
        unread: Collection[str],
    ) -> None:
        self.parsed, self.known, self.home_url, self.texts = parsed, known, home_url, texts
        self.by_guid = {k.guid: k for k in known}
        self.by_alias = {alias: k for k in known for alias in k.aliases}
        self.matches: dict[int, Match] = {}
        still_there = [k for g in unread if (k := self.by_guid.get(g) or self.by_alias.get(g))]
        self.claimed = {k.guid for k in still_there}
        self.unread_by_hash = {k.content_hash: k for k in still_there}
        self.renamed: set[str] = set()
        self.new_guids: set[str] = set()
        self.repeated = self._find_repeated()

    def run(self) -> list[Match]:
        self._match_exchanged()
        for step in (self._match_guid, self._match_alias):
            for position, article in self._unmatched():
                step(position, article)
        if self._unmatched():
            self._match_unique("guid_flip", self._links_of(self.parsed), self._links_of(self.known))
        if self._unmatched() and any(k.text_key for k in self.known):
            texts = {position: text_key(article) for position, article in self._unmatched()}
            of_parsed = [texts.get(position, "") for position in range(len(self.parsed))]
            self._match_unique("moved", of_parsed, [k.text_key for k in self.known])
        for position, article in self._unmatched():
            self.matches[position] = self._new(article)
        for position, original in self.repeated.items():
            known = self.matches[original].known
            self.matches[position] = Match(article=self.parsed[position], known=known, how="repeated")
        return [self.matches[position] for position in range(len(self.parsed))]

    def _find_repeated(self) -> dict[int, int]:
        """What says on the same date the same as another of the document is no article of its own: by its
        position that of the other one. A guid that is known has been an article of its own before.
        """
        originals: dict[tuple[object, ...], int] = {}
        repeated: dict[int, int] = {}

        def is_stranger(position: int) -> tuple[bool, bool, int]:
            guid = self.parsed[position].guid
            return guid not in self.by_guid, guid not in self.by_alias, position

        for position in sorted(range(len(self.parsed)), key=is_stranger):
            article = self.parsed[position]
            original = originals.setdefault(_seen(article), position)
            if original != position and article.guid not in self.by_guid:
                repeated[position] = original
        return repeated

    def _unmatched(self) -> list[tuple[int, ParsedArticle]]:
        return [
            (n, article)
            for n, article in enumerate(self.parsed)
            if n not in self.matches and n not in self.repeated
        ]

    def _claim(self, position: int, known: KnownArticle, how: str) -> None:
        self.claimed.add(known.guid)
        if how != "guid":
            self.renamed.add(known.guid)
        self.matches[position] = Match(article=self.parsed[position], known=known, how=how)

    def _match_exchanged(self) -> None:
        """What moved to another guid while something else took its own: a file that was renamed and a new
        one under the old name, two files that changed places, one that was moved over another.
        """
        of_document = {article.guid: article for article in self.parsed}
        displaced = {k.content_hash: k for k in self.known if _is_displaced(k, of_document.get(k.guid))}
        for position, article in self._unmatched() if displaced else ():
            owner = self.by_guid.get(article.guid)
            if owner is not None and same_title(article.title, owner.title):
                continue
            known = displaced.get(article.content_hash)
            if known is None or known.guid in self.claimed:
                continue
            if owner is not None and owner.is_aside:
                self._exchange_aside(position, known, owner)
            elif owner is not None or known.guid in of_document:
                self._claim(position, known, "moved")

    def _exchange_aside(self, position: int, known: KnownArticle, aside: KnownArticle) -> None:
        """Two that changed places, of which one is aside: both at once, or one guid would name two."""
        for partner, article in self._unmatched():
            if article.guid == known.guid and article.content_hash == aside.content_hash:
                self._claim(position, known, "moved")
                self._claim(partner, aside, "moved")
                return

    def _match_guid(self, position: int, article: ParsedArticle) -> None:
        longer = _longer_guid(article)
        known = self.by_guid.get(longer) or self.by_guid.get(article.guid)
        if known is None or known.guid in self.claimed:
            return
        if known.guid != longer and not _same_link(article, known) and self._is_another(article, known):
            self.matches[position] = Match(article=replace(article, guid=longer), how="guid_reused")
            self.new_guids.add(longer)
        else:
            self._claim(position, known, "guid")

    def _match_alias(self, position: int, article: ParsedArticle) -> None:
        known = self.by_alias.get(article.guid)
        if known is None or article.guid in self.by_guid or self._is_another(article, known):
            return
        if known.guid not in self.claimed:
            self._claim(position, known, "alias")
        elif _same_link(article, known):
            self.matches[position] = Match(article=article, known=known, how="repeated")

    def _match_unique(self, how: str, of_parsed: Sequence[str], of_known: Sequence[str]) -> None:
        in_document = Counter(key for n, key in enumerate(of_parsed) if n not in self.repeated)
        in_store = Counter(of_known)
        by_key = {
            key: known
            for key, known in zip(of_known, self.known, strict=True)
            if key and in_store[key] == 1 and in_document[key] == 1 and known.guid not in self.claimed
        }
        for position, article in self._unmatched():
            known = by_key.get(of_parsed[position])
            if known is not None and how == "guid_flip" and self._is_another(article, known):
                self.matches[position] = Match(article=article, how="link_reused")
            elif known is not None:
                self._claim(position, known, how)

    def _links_of(self, articles: Iterable[ParsedArticle | KnownArticle]) -> list[str]:
        """The links that may be one of an unmatched article, in the form for comparison; else empty."""
        paths = {urlsplit(article.url).path for _, article in self._unmatched() if article.url}
        return [
            canonical_link(a.url)
            if a.url and any(path in a.url for path in paths) and not is_home_page(a.url, self.home_url)
            else ""
            for a in articles
        ]

    def _new(self, article: ParsedArticle) -> Match:
        owner = self.by_guid.get(article.guid)
        if article.guid in self.new_guids or (owner is not None and owner.guid not in self.renamed):
            return Match(article=article, known=owner, how="repeated")
        same = self.unread_by_hash.get(article.content_hash)
        if same is not None and article.published_at in {None, same.published_at}:
            return Match(article=article, known=same, how="repeated")
        return Match(article=article, how="new")

    def _is_another(self, article: ParsedArticle, known: KnownArticle) -> bool:
        """Whether it is no later form of the known one, but something else, published in its place."""
        text = None if known.is_aside else self.texts.get(known.id)
        if text is None or article.published_at is None or known.published_at is None:
            return False
        if article.published_at <= known.published_at or same_title(article.title, known.title):
            return False
        return is_mostly_other(article, known.title, text)


def _is_displaced(known: KnownArticle, at_its_place: ParsedArticle | None) -> bool:
    """Whether something else is where a known article was, or nothing, and its content says which it is."""
    if known.is_aside:
        return False
    if at_its_place is None:
        return bool(known.url or known.text_key)
    return not same_title(at_its_place.title, known.title)


def _seen(article: ParsedArticle) -> tuple[object, ...]:
    """What a reader sees of an article, with its date; quicker than its hash."""
    return (
        article.title,
        article.content_html,
        article.summary,
        article.url,
        article.authors,
        article.tags,
        article.image_url,
        article.enclosures,
        article.published_at,
    )


def _same_link(article: ParsedArticle, known: KnownArticle) -> bool:
    return bool(article.url and known.url) and canonical_link(article.url) == canonical_link(known.url)


def _longer_guid(article: ParsedArticle) -> str:
    """The guid of an article whose own one was another's before: with its link, else with its date."""
    part = article.url or (article.published_at and f"{article.published_at:%Y-%m-%dT%H:%MZ}") or ""
    return choose_guid(f"{article.guid}|{part}", "") if part else article.guid
