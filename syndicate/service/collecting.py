"""Use case: read the sources that are due, and store what is new or changed.

Sources are leased, looked at side by side, and recorded in batches: one that is slow, broken or hostile
delays no other. Looking is in ``looking``, what becomes of what was found in ``storing``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from typing import Final, Self

import structlog
from sqlalchemy import Connection

from syndicate.collect.hosts import HostHeld, host_of
from syndicate.collect.moves import Move, MoveAction, decide_move
from syndicate.collect.parse import PARSER_VERSION
from syndicate.collect.rhythm import (
    Check,
    decide_interval_s,
    decide_next_check,
    decide_state,
    is_slot_check_due,
)
from syndicate.errors import CollectError, FetchError, OperationError, StateError
from syndicate.model import Newsletter, Source, SourceKind, SourceState
from syndicate.service.egress import Egress, open_egress
from syndicate.service.installation import Installation
from syndicate.service.looking import Look, look, read_document
from syndicate.service.storing import (
    USUAL_DAYS,
    Found,
    SourceReport,
    report_failure,
    store_articles,
)
from syndicate.service.websub import is_pushed, note_hubs
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import reading, writing
from syndicate.storage.sources import Success, Unchanged

__all__ = [
    "Collector",
    "SourceReport",
    "collect_due",
    "collect_source",
    "count_due",
    "list_folders",
    "look_before",
    "make_due",
    "store_document",
    "store_pushed",
]

_log = structlog.get_logger(__name__)

#: For how long a look may take, all of a source's pages included; who is later writes nothing. Our choice.
_LEASE_S: Final = 600.0

#: Sources that are leased at once for each that may be fetched at once: some wait for their hosts.
_AHEAD: Final = 4

#: How long sources of one host may keep a run waiting; those beyond that have their turn in the next one.
_HOST_TURNS_S: Final = 30.0

#: How soon a wish to stop is seen.
_STOP_STEP_S: Final = 0.2

#: How soon a folder is read again in which files were being written; our choice.
_SETTLES_IN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a source could not be read."""

    source: Source
    error: CollectError


_Outcome = Look | _Failure


class Collector:
    """Reads sources. One that is kept from one run to the next keeps connections and parser processes, and
    what hosts have asked for. A context manager, for one thread at a time.
    """

    def __init__(self, inst: Installation) -> None:
        self._inst = inst
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._egress: Egress | None = None

    def __enter__(self) -> Self:
        """Opens nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Closes connections, and ends processes."""
        self._runner.run(self._opened.aclose())
        self._runner.close()

    def collect_due(
        self,
        *,
        on_report: Callable[[SourceReport], None] = lambda _report: None,
        patience_s: float = inf,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[SourceReport]:
        """Reads every source whose time has come; one that fails does not stop the others.

        After ``patience_s`` none is begun any more. Once ``should_stop`` says so, those that are being read
        are given up, too. What is left is due still.
        """
        return self._runner.run(self._collect_due(on_report, patience_s, should_stop))

    def collect_source(self, source: Source) -> SourceReport:
        """Reads one source that was leased, and all of it."""
        return self._runner.run(self._collect_source(source))

    async def _collect_due(
        self,
        on_report: Callable[[SourceReport], None],
        patience_s: float,
        should_stop: Callable[[], bool],
    ) -> list[SourceReport]:
        if not await asyncio.to_thread(count_due, self._inst):
            return []
        collection = _Collection(
            inst=self._inst, egress=await self._open(), on_report=on_report, should_stop=should_stop
        )
        return await collection.run(patience_s)

    async def _collect_source(self, source: Source) -> SourceReport:
        egress = await self._open()
        try:
            outcome = await _outcome_of(self._inst, egress, source, is_forced=True)
        except BaseException:
            await asyncio.to_thread(_release, self._inst, [source])
            raise
        [report] = await asyncio.to_thread(_record, self._inst, [outcome])
        return report

    async def _open(self) -> Egress:
        if self._egress is None:
            self._egress = await self._opened.enter_async_context(open_egress(self._inst))
        return self._egress


def collect_due(
    inst: Installation, *, on_report: Callable[[SourceReport], None] = lambda _report: None
) -> list[SourceReport]:
    """Reads every source whose time has come; one that fails does not stop the others."""
    with Collector(inst) as collector:
        return collector.collect_due(on_report=on_report)


def count_due(inst: Installation) -> int:
    """How many sources ``collect_due`` would read now."""
    with reading(inst.engine) as conn:
        return sources.count_due_sources(conn, inst.clock())


def collect_source(inst: Installation, source_id: int) -> SourceReport:
    """Reads one source now, due or not, and all of it. Raises NotFound, StateError if it is being read."""
    with writing(inst.engine) as conn:
        if sources.get_source(conn, source_id).kind is SourceKind.PUSH:
            raise StateError(f"source {source_id} takes what is handed in; there is nothing to read")
        source = sources.lease_source(conn, source_id, inst.clock(), lease_s=_LEASE_S)
    if source is None:
        raise StateError(f"source {source_id} is being read by another process; try again in a moment")
    with Collector(inst) as collector:
        return collector.collect_source(source)


def make_due(inst: Installation, source_ids: Sequence[int]) -> None:
    """Lets sources be read with the next run."""
    with writing(inst.engine) as conn:
        sources.make_due(conn, source_ids, now=inst.clock())


def look_before(inst: Installation, newsletter: Newsletter, slot_at: datetime) -> None:
    """Makes the sources of a newsletter due that were not looked at lately before an edition opens."""
    now = inst.clock()
    with writing(inst.engine) as conn:
        drawn = set(newsletters.list_source_ids(conn, newsletter.id))
        due = [
            source.id
            for source in sources.list_sources(conn)
            if source.id in drawn
            and is_slot_check_due(
                slot_at=slot_at,
                last_checked_at=source.last_checked_at,
                # Who fails is looked at when its server allows it, and when it may have recovered.
                waits_until=source.next_due_at if source.failures else None,
                now=now,
            )
        ]
        sources.make_due(conn, due, now=now)


def list_folders(inst: Installation) -> dict[Path, int]:
    """The folders that are collected, each with the number of its source."""
    with reading(inst.engine) as conn:
        return {
            Path(source.location): source.id
            for source in sources.list_sources(conn)
            if source.kind is SourceKind.FOLDER and source.state is SourceState.ACTIVE
        }


def store_document(
    inst: Installation, source_id: int, body: bytes, *, url: str, content_type: str
) -> SourceReport:
    """Stores what a pushed document brings: it may be a part, come twice, or come late. Raises NotFound,
    CollectError if it cannot be read, and StateError while there is no baseline that says what is new.
    """
    with reading(inst.engine) as conn:
        source = sources.get_source(conn, source_id)
    if source.baseline_at is None:
        raise StateError(f"source {source_id} was never read; it has to be collected first")

    async def read() -> Found:
        async with open_egress(inst) as egress:
            _, found = await read_document(inst, egress, source, body, url=url, content_type=content_type)
            return found

    return store_pushed(inst, source_id, asyncio.run(read()))


def store_pushed(inst: Installation, source_id: int, found: Found) -> SourceReport:
    """Stores articles that were handed in. Raises NotFound."""
    now = inst.clock()
    with writing(inst.engine) as conn:
        source = sources.get_source(conn, source_id, lock=True)
        found = replace(found, is_partial=True, may_be_late=True)
        return store_articles(inst, conn, source, found, now)


class _Stopped(Exception):
    """The wish to stop, told to all who look."""


@dataclass(slots=True, kw_only=True)
class _Collection:
    """One run over everything that is due."""

    inst: Installation
    egress: Egress
    on_report: Callable[[SourceReport], None]
    should_stop: Callable[[], bool]
    _leased: deque[Source] = field(default_factory=deque)
    _in_hand: dict[int, Source] = field(default_factory=dict)  #: leased, and nothing on record yet
    _outcomes: list[_Outcome] = field(default_factory=list)
    _reports: list[SourceReport] = field(default_factory=list)
    _postponed: set[int] = field(default_factory=set)  #: whose hosts have had enough for this run
    _turns: Counter[str] = field(default_factory=Counter)  #: by host, in this run
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _leasing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _is_done: bool = False
    _ends_at_s: float = inf

    async def run(self, patience_s: float) -> list[SourceReport]:
        """Until nothing is due any more, patience is at its end, or it is stopped."""
        self._ends_at_s = asyncio.get_running_loop().time() + patience_s
        recorder = asyncio.create_task(self._record_outcomes())
        try:
            with suppress(_Stopped):
                await self._look()
        finally:
            self._is_done = True
            self._news.set()
            try:
                await recorder
            finally:
                # Whoever comes next need not wait for the leases to run out.
                await asyncio.to_thread(_release, self.inst, list(self._in_hand.values()))
        return self._reports

    async def _look(self) -> None:
        """Looks at all sources, many at a time. Raises _Stopped."""
        workers: set[asyncio.Task[None]] = set()
        try:
            for _ in range(self.inst.settings.fetch.connections * _AHEAD):
                if not await self._has_leased():
                    break
                workers.add(asyncio.create_task(self._work(self._leased.popleft())))
            while workers:
                done, workers = await asyncio.wait(
                    workers, timeout=_STOP_STEP_S, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                if self.should_stop():
                    raise _Stopped
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, source: Source) -> None:
        """Looks at one source after the other."""
        while True:
            try:
                outcome = await _outcome_of(self.inst, self.egress, source)
                self._outcomes.append(outcome)
                self._news.set()
            except HostHeld as held:
                until = self.inst.clock() + timedelta(seconds=held.wait_s)
                await asyncio.to_thread(_postpone, self.inst, source, until)
                del self._in_hand[source.id]
            if not await self._has_leased():
                return
            source = self._leased.popleft()

    async def _has_leased(self) -> bool:
        """Whether a source is there to be looked at; leases more if need be."""
        if self._leased:
            return True
        async with self._leasing:
            while not self._leased and self._may_begin():
                found = await asyncio.to_thread(self._lease)
                if not found:
                    return False
                chosen = self._choose(found)
                self._leased += chosen
                self._in_hand |= {source.id: source for source in chosen}
        return bool(self._leased)

    def _may_begin(self) -> bool:
        return asyncio.get_running_loop().time() < self._ends_at_s and not self.should_stop()

    def _lease(self) -> list[Source]:
        with writing(self.inst.engine) as conn:
            return sources.lease_due_sources(
                conn,
                self.inst.clock(),
                limit=self.inst.settings.fetch.connections * _AHEAD,
                lease_s=_LEASE_S,
                passed_over=sorted(self._postponed),
            )

    def _choose(self, found: Sequence[Source]) -> list[Source]:
        """Those whose hosts have turns left in this run; the others are given back."""
        settings = self.inst.settings.fetch
        most = max(1.0, _HOST_TURNS_S / settings.host_gap_s) if settings.host_gap_s else inf
        chosen, others = [], []
        for source in found:
            host = host_of(source.location)
            if not host or self._turns[host] < most:
                self._turns[host] += 1
                chosen.append(source)
            else:
                others.append(source)
        if others:
            self._postponed |= {source.id for source in others}
            with writing(self.inst.engine) as conn:
                sources.release_sources(conn, others)
        return chosen

    async def _record_outcomes(self) -> None:
        while not self._is_done or self._outcomes:
            await self._news.wait()
            self._news.clear()
            outcomes, self._outcomes = self._outcomes, []
            if not outcomes:
                continue
            reports = await asyncio.to_thread(_record, self.inst, outcomes)
            for outcome in outcomes:
                self._in_hand.pop(outcome.source.id, None)
            for report in reports:
                self._reports.append(report)
                self.on_report(report)


async def _outcome_of(
    inst: Installation, egress: Egress, source: Source, *, is_forced: bool = False
) -> _Outcome:
    try:
        return await look(inst, egress, source, is_forced=is_forced)
    except HostHeld:
        raise
    except CollectError as error:
        _log.warning("source_failed", source_id=source.id, location=source.location, reason=error.reason)
        return _Failure(source=source, error=error)
    except Exception as error:  # noqa: BLE001 - whatever one source does to a parser, the others are read
        _log.exception("source_failed", source_id=source.id, location=source.location)
        failure = CollectError(source.location, "unexpected", f"cannot be read: {error!r}")
        return _Failure(source=source, error=failure)


def _release(inst: Installation, leased: Sequence[Source]) -> None:
    if leased:
        with writing(inst.engine) as conn:
            sources.release_sources(conn, leased)


def _postpone(inst: Installation, source: Source, until: datetime) -> None:
    with writing(inst.engine) as conn:
        sources.postpone(conn, source, until)


def _record(inst: Installation, outcomes: Sequence[_Outcome]) -> list[SourceReport]:
    """Stores what looks brought: all of them in one transaction, or each in one of its own if that fails."""
    try:
        with writing(inst.engine) as conn:
            return _record_in(inst, conn, outcomes)
    except OperationError:
        raise
    except Exception as error:  # noqa: BLE001 - one document must not take the others with it
        if len(outcomes) > 1:
            return [report for outcome in outcomes for report in _record(inst, [outcome])]
        source = outcomes[0].source
        _log.exception("source_not_stored", source_id=source.id, location=source.location)
        failure = CollectError(source.location, "unexpected", f"cannot be stored: {error!r}")
        with writing(inst.engine) as conn:
            return _record_in(inst, conn, [_Failure(source=source, error=failure)])


def _record_in(inst: Installation, conn: Connection, outcomes: Sequence[_Outcome]) -> list[SourceReport]:
    now = inst.clock()
    rhythm = _Rhythm.of(conn, [outcome.source for outcome in outcomes], now)
    reports: list[SourceReport] = []
    unchanged: list[Look] = []
    for outcome in outcomes:
        if isinstance(outcome, _Failure):
            reports.append(_record_failure(conn, outcome, rhythm))
        elif outcome.found is None and not outcome.permanent_url and not outcome.source.moved_to:
            unchanged.append(outcome)
        else:
            reports.append(_record_look(inst, conn, outcome, rhythm))
    sources.record_unchanged(conn, [rhythm.unchanged(each) for each in unchanged], now=now)
    return reports + [_as_before(each.source) for each in unchanged]


def _as_before(source: Source) -> SourceReport:
    return SourceReport(source_id=source.id, location=source.location, title=source.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rhythm:
    """When sources are to be looked at next."""

    now: datetime
    new: dict[int, int]  #: articles of the last days, by source
    pushed: frozenset[int]  #: sources of which a hub tells us what is new

    @classmethod
    def of(cls, conn: Connection, looked_at: Sequence[Source], now: datetime) -> _Rhythm:
        """That of these sources."""
        since = now - timedelta(days=USUAL_DAYS)
        ids = [source.id for source in looked_at]
        new = articles.count_new_since(conn, ids, since)
        return cls(now=now, new=new, pushed=is_pushed(conn, ids, now=now))

    def interval_s(self, source: Source, more: int = 0) -> float:
        """Between two looks, if nothing is in the way; ``more`` articles are new with this one."""
        if source.kind is SourceKind.FOLDER:
            return source.interval_s
        baseline_at = source.baseline_at or self.now
        watched_s = (self.now - baseline_at).total_seconds()
        return decide_interval_s(new_articles=self.new.get(source.id, 0) + more, watched_s=watched_s)

    def next_due_at(self, check: Check) -> datetime:
        return decide_next_check(check, now=self.now, jitter=random.random())  # noqa: S311 - spreads load

    def check(self, seen: Look, interval_s: float) -> Check:
        return Check(
            interval_s=interval_s,
            fresh_s=seen.fresh_s,
            min_interval_s=seen.min_interval_s,
            skip_hours=seen.skip_hours,
            skip_days=seen.skip_days,
            is_pushed=seen.source.id in self.pushed,
        )

    def unchanged(self, seen: Look) -> Unchanged:
        interval_s = self.interval_s(seen.source)
        return Unchanged(
            source_id=seen.source.id,
            fence=seen.source.fence,
            was_due_at=seen.source.next_due_at,
            next_due_at=self.next_due_at(self.check(seen, interval_s)),
            interval_s=round(interval_s),
            full_fetch_at=seen.full_fetch_at,
        )


def _record_failure(conn: Connection, failed: _Failure, rhythm: _Rhythm) -> SourceReport:
    source, error = failed.source, failed.error
    state = decide_state(
        source.state,
        reason=error.reason,
        failing_since=source.failing_since,
        now=rhythm.now,
    )
    check = Check(
        interval_s=rhythm.interval_s(source),
        state=state,
        failures=source.failures + 1,
        retry_after_s=error.retry_after_s if isinstance(error, FetchError) else None,
        is_pushed=source.id in rhythm.pushed,
    )
    sources.record_failure(
        conn,
        source,
        now=rhythm.now,
        next_due_at=rhythm.next_due_at(check),
        reason=error.reason,
        error=str(error),
        state=state,
    )
    return report_failure(source, str(error))


def _record_look(inst: Installation, conn: Connection, seen: Look, rhythm: _Rhythm) -> SourceReport:
    # Read again, and locked: the operator may have changed it meanwhile, or another process taken it over.
    source = sources.get_source(conn, seen.source.id, lock=True)
    if source.fence != seen.source.fence:
        return report_failure(source, f"{source.location}: another process reads it now")
    found = seen.found
    report = store_articles(inst, conn, source, found, rhythm.now) if found else _as_before(source)
    interval_s = rhythm.interval_s(source, report.new)
    is_whole = found is None or found.is_whole
    success = Success(
        was_due_at=seen.source.next_due_at,
        next_due_at=rhythm.next_due_at(rhythm.check(seen, interval_s if is_whole else _SETTLES_IN_S)),
        interval_s=round(interval_s),
        etag=seen.validators.etag if found else source.etag,
        last_modified=seen.validators.last_modified if found else source.last_modified,
        validators_url=seen.validators.url if found else source.validators_url,
        body_hash=seen.validators.body_hash if found else source.body_hash,
        parser_version=PARSER_VERSION if found else source.parser_version,
        full_fetch_at=seen.full_fetch_at,
        title=seen.title,
        # Half-written files are settled in seconds, and a baseline without them would mail them later.
        is_whole=is_whole,
    )
    sources.record_success(conn, source, success, now=rhythm.now)
    notes = list(report.notes)
    if seen.is_over:
        sources.set_source_state(conn, source.id, SourceState.PAUSED)
        notes.append("says that nothing more will come; it is paused")
    if found:
        note_hubs(
            inst,
            conn,
            source,
            hubs=seen.hubs,
            self_url=seen.self_url,
            now=rhythm.now,
            is_news=report.new > 0,
        )
    notes += _follow_move(conn, source, seen, report, rhythm.now)
    return replace(report, notes=tuple(notes))


def _follow_move(
    conn: Connection, source: Source, seen: Look, report: SourceReport, now: datetime
) -> list[str]:
    """Takes over where permanent redirects lead, once they have shown that they mean it."""
    if not seen.permanent_url and not source.moved_to:
        return []
    before = None
    if source.moved_to and source.moved_since is not None:
        before = Move(url=source.moved_to, first_seen_at=source.moved_since, fetches=source.moved_seen)
    decision = decide_move(
        before,
        source.location,
        seen.permanent_url,
        now=now,
        shares_guid=seen.found is None or bool(report.same or report.changed),
        is_taken=bool(seen.permanent_url) and sources.find_source(conn, seen.permanent_url) is not None,
    )
    if decision.action is MoveAction.ADOPT:
        sources.move_source(conn, source, decision.url)
        return [f"has moved to {decision.url}, which is read from now on"]
    move = decision.seen
    sources.note_move(
        conn,
        source.id,
        moved_to=move.url if move else "",
        since=move.first_seen_at if move else None,
        seen=move.fetches if move else 0,
    )
    if decision.action is MoveAction.REPORT:
        return [f"has moved to {seen.permanent_url}: {_WHY_NOT.get(decision.reason, decision.reason)}"]
    return []


_WHY_NOT: Final = {
    "taken": "that is another source already; remove one of the two",
    "credentials": "its credentials are not carried to another site; add the new address by hand",
}
