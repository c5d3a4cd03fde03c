"""Use cases about held articles: what waits for the operator, and what is decided about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from syndicate.errors import NotFound
from syndicate.model import HeldArticle, Origin
from syndicate.service.installation import Installation
from syndicate.service.storing import Accepted, accept
from syndicate.storage import held, sources
from syndicate.storage.engine import reading, writing

__all__ = ["count_held", "dismiss_held", "list_held", "release_held"]


def list_held(inst: Installation, source_id: int | None = None) -> list[HeldArticle]:
    """What waits for the operator, of one source or of all. Raises NotFound."""
    with reading(inst.engine) as conn:
        if source_id is not None:
            sources.get_source(conn, source_id)
        return held.list_waiting(conn, source_id)


def count_held(inst: Installation) -> dict[int, int]:
    """How many articles wait, by source."""
    with reading(inst.engine) as conn:
        return held.count_waiting(conn)


def release_held(inst: Installation, source_id: int, guids: Collection[str] = ()) -> Sequence[HeldArticle]:
    """Accepts what waits of a source, or only these: it is shown, and mailed like any new article. Returns
    what it was. Raises NotFound.
    """
    return _settle(inst, source_id, guids, Origin.NEW)


def dismiss_held(inst: Installation, source_id: int, guids: Collection[str] = ()) -> Sequence[HeldArticle]:
    """Marks it as seen: it is shown like what the source began with, and not mailed. Raises NotFound."""
    return _settle(inst, source_id, guids, Origin.BASELINE)


def _settle(
    inst: Installation, source_id: int, guids: Collection[str], origin: Origin
) -> Sequence[HeldArticle]:
    now = inst.clock()
    with writing(inst.engine) as conn:
        source = sources.get_source(conn, source_id, lock=True)
        waiting = {each.guid: each for each in held.list_waiting(conn, source_id)}
        for guid in guids:
            if guid not in waiting:
                raise NotFound("held article", guid, list(waiting))
        chosen = [each for guid, each in waiting.items() if not guids or guid in guids]
        accept(
            inst,
            conn,
            source,
            [Accepted(article=each.article, origin=origin) for each in chosen if each.article is not None],
            now,
        )
        held.take_held(conn, source_id, [each.guid for each in chosen])
    return chosen
