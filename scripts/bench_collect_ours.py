"""What Syndicate takes for collecting: one step in a process of its own, as JSON on a line.

    python -m scripts.bench_collect_ours collect FOLDER FEEDS ENTRIES HOURS COMPARED
    python -m scripts.bench_collect_ours parse FILE TIMES

``collect`` reads every source as of so many hours after all were added, and looks at what was stored: nobody
is measured who did not do the work. The processes that parse count with it, from their start on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from scripts.bench_collect_peers import fingerprint, parsing
from scripts.bench_collect_world import ADDED_AT, CONFIG
from scripts.bench_processes import family_cpu_s
from scripts.bench_tools import silence
from syndicate.collect.parse import parse_document
from syndicate.service.collecting import collect_due, count_due
from syndicate.service.installation import Installation, open_installation
from syndicate.storage.engine import reading
from syndicate.storage.tables import article, source


def collect(folder: str, feeds: str, entries: str, hours: str, compared: str) -> dict[str, float]:
    """Reads all sources; gives the fingerprint of the first ones, for who has read fewer."""
    now, count = ADDED_AT + timedelta(hours=int(hours)), int(feeds)
    with open_installation(Path(folder) / CONFIG, clock=lambda: now) as inst:
        if (due := count_due(inst)) != count:
            sys.exit(f"{due} sources are due instead of {count}")
        start_s, began_s = family_cpu_s(), time.perf_counter()
        collect_due(inst)
        used_s, seconds = family_cpu_s() - start_s, time.perf_counter() - began_s
        _look(inst, count, int(entries))
        with reading(inst.engine) as conn:
            first = select(article.c.content_html).where(article.c.source_id <= int(compared))
            seen = fingerprint(conn.execute(first).scalars())
    return {
        "cpu_ms": used_s / count * 1e3,
        "feeds_s": count / seconds,
        "fingerprint": seen,
        "start_ms": start_s * 1e3,
    }


def _look(inst: Installation, feeds: int, entries: int) -> None:
    """Ends with an error unless each source was read just now and has all its articles."""
    is_well = (source.c.last_success_at == inst.clock()) & (source.c.last_error == "")
    per_source = select(func.count(article.c.id).label("stored")).group_by(article.c.source_id).subquery()
    whole = select(func.count()).where(per_source.c.stored == entries)
    with reading(inst.engine) as conn:
        well = conn.execute(select(func.count()).select_from(source).where(is_well)).scalar_one()
        complete = conn.execute(whole).scalar_one()
        faults = conn.execute(select(source.c.last_error).where(~is_well).limit(1)).scalars().all()
    if (well, complete) != (feeds, feeds):
        sys.exit(f"of {feeds} sources {well} were read and {complete} have {entries} articles each {faults}")


def parse(file: str, times: str) -> dict[str, float]:
    """Parses and sanitises a document."""

    def articles(body: bytes) -> list[str]:
        parsed = parse_document(
            body,
            url="https://example.org/feed.xml",
            content_type="application/xml; charset=utf-8",
            now=ADDED_AT,
        )
        return [each.content_html for each in parsed.articles]

    return parsing(articles, file, times)


STEPS: dict[str, Callable[..., dict[str, float]]] = {"collect": collect, "parse": parse}

if __name__ == "__main__":
    silence()
    step, *words = sys.argv[1:]
    print(json.dumps(STEPS[step](*words)))
