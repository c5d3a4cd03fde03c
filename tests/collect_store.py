"""What is stored of one source, in memory: the decisions about articles, acted upon as the service does."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from syndicate.collect.decide import SourceHistory, Verdict, decide_articles
from syndicate.collect.identity import known_aside, list_doubtful
from syndicate.collect.likeness import text_key
from syndicate.model import HeldArticle, KnownArticle, Origin, ParsedArticle

__all__ = ["Store"]

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Stored:
    id: int
    guid: str
    article: ParsedArticle
    origin: Origin
    hashes: list[str]
    dated_at: datetime | None
    aliases: set[str] = field(default_factory=set)
    turns: int = 0


class Store:
    """What is stored of one source, and what the decisions make of it."""

    def __init__(self) -> None:
        self.articles: dict[int, Stored] = {}
        self.held: dict[str, HeldArticle] = {}
        self.is_first = True

    def known(self) -> list[KnownArticle]:
        accepted = [
            KnownArticle(
                id=s.id,
                guid=s.guid,
                url=s.article.url,
                content_hash=s.article.content_hash,
                earlier_hashes=frozenset(s.hashes[-9:]) - {s.article.content_hash},
                aliases=frozenset(s.aliases),
                title=s.article.title,
                text_key=text_key(s.article),
                published_at=s.article.published_at,
                updated_at=s.dated_at,
                revisions=len(s.hashes),
                turns=s.turns,
            )
            for s in self.articles.values()
        ]
        return accepted + [known_aside(held) for held in self.held.values()]

    def look(self, document, **choice):
        known = self.known()
        doubtful = list_doubtful(document, known)
        decisions = decide_articles(
            document,
            known,
            is_first=self.is_first,
            backfill="none",
            texts={number: self.articles[number].article.content_html for number in doubtful},
            history=SourceHistory(articles=len(self.articles), new_per_day=1, days_since_success=0.1),
            **choice,
        )
        self.is_first = False
        self.rename({d.known_id: d.renamed_to for d in decisions if d.renamed_to and d.known_id})
        for decision in decisions:
            self.act(decision)
        assert len(decisions) == len(document)
        assert len({s.guid for s in self.articles.values()} | self.held.keys()) == len(self.articles) + len(
            self.held
        )
        return decisions

    def act(self, decision):
        if decision.verdict is Verdict.NEW:
            self.add(decision.article, decision.origin)
        elif decision.verdict in {Verdict.HELD, Verdict.EXCLUDED}:
            self.hold(decision.article, decision.reason)
        elif decision.aside_guid:
            held = self.held.pop(decision.aside_guid)
            self.hold(replace(decision.article, guid=decision.renamed_to or held.guid), held.reason)
        elif decision.known_id is not None:
            self.revise(self.articles[decision.known_id], decision)

    def rename(self, guids):
        """All at once: articles change places, and one that is not there any more gives its guid up."""
        for stored in self.articles.values():
            if stored.id in guids:
                stored.aliases.add(stored.guid)
                stored.guid = guids[stored.id]
            elif stored.guid in guids.values():
                stored.guid = f"{stored.guid}|{stored.id}"

    def add(self, article, origin):
        number = len(self.articles) + 1
        assert article.guid not in {s.guid for s in self.articles.values()} | self.held.keys()
        self.articles[number] = Stored(
            number, article.guid, article, origin, [article.content_hash], article.updated_at
        )

    def hold(self, article, reason):
        assert article.guid not in {s.guid for s in self.articles.values()} | self.held.keys()
        self.held[article.guid] = HeldArticle(
            source_id=1,
            guid=article.guid,
            content_hash=article.content_hash,
            reason=reason,
            held_at=START,
            article=article,
        )

    def revise(self, stored, decision):
        stored.dated_at = decision.dated_at or stored.dated_at
        if decision.verdict is not Verdict.CHANGED:
            return
        stored.turns += decision.reason == "reverted"
        stored.article = decision.article
        if decision.article.content_hash not in stored.hashes:
            stored.hashes.append(decision.article.content_hash)

    def release(self):
        for held in list(self.held.values()):
            del self.held[held.guid]
            self.add(held.article, Origin.NEW)

    def state(self):
        return sorted((s.guid, s.article.content_hash) for s in self.articles.values())
