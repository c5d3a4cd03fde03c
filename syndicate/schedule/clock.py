"""The clock of ``serve``: APScheduler rings, and each ring asks the database what is due.

A job that rings twice, or never, does no harm: schedules are rows, a slot is a unique key, a delivery is
marked before it goes out. So the job store is in memory and nothing in it is worth keeping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from subscribers.model import Cadence
from syndicate.collect.rhythm import BEFORE_SLOT
from syndicate.errors import RelayError, SyndicateError
from syndicate.model import Newsletter
from syndicate.schedule.slots import find_due_slot, find_next_slot
from syndicate.schedule.watching import FolderWatch
from syndicate.service.collecting import Collector, collect_due, look_before, make_due
from syndicate.service.editions import open_edition, pause_edition
from syndicate.service.feeds import refresh_feeds
from syndicate.service.installation import Installation
from syndicate.service.letters import send_letters
from syndicate.service.newsletters import list_newsletters, list_schedules, mark_slot
from syndicate.service.sending import has_work, list_unfinished, send_edition
from syndicate.service.websub import request_due

__all__ = ["Clock", "look_before_slots", "open_due_editions"]

_log = structlog.get_logger(__name__)

#: Seconds between two rings; our choice. A slot is met within one of them.
_COLLECT_EVERY_S: Final = 30
_ASK_HUBS_EVERY_S: Final = 60
_SEND_EVERY_S: Final = 5

#: After a fault of the relay: first wait, and the longest one; our choice.
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(hours=1)


def open_due_editions(inst: Installation) -> int:
    """Opens the editions whose slots have come, and those of readers who want each article at once.

    A slot that was missed by more than the set time opens held: nothing is sent late in silence. Returns how
    many were opened. One newsletter that fails does not stop the others.
    """
    opened = 0
    for newsletter in list_newsletters(inst):
        try:
            opened += _open_scheduled(inst, newsletter) + _open_immediate(inst, newsletter)
        except SyndicateError as error:
            _log.error("edition_not_opened", newsletter=newsletter.slug, error=str(error))
    return opened


def look_before_slots(inst: Installation) -> None:
    """Makes the sources of each newsletter due of which an edition is about to open, so that it has what came
    last; those whose servers asked us to wait are left alone.
    """
    now = inst.clock()
    for newsletter in list_newsletters(inst):
        zone = ZoneInfo(newsletter.time_zone)
        slots = [find_next_slot(each, zone, now).at for each in list_schedules(inst, newsletter.id)]
        if slots and min(slots) - now <= BEFORE_SLOT:
            look_before(inst, newsletter, min(slots))


def _open_scheduled(inst: Installation, newsletter: Newsletter) -> int:
    zone = ZoneInfo(newsletter.time_zone)
    now = inst.clock()
    opened = 0
    for schedule in list_schedules(inst, newsletter.id):
        slot = find_due_slot(schedule, zone, now)
        if slot is None:
            continue
        # Also for a cadence that is no longer on offer: who chose it while it was is still served.
        late = now - slot.at > timedelta(hours=inst.settings.delivery.late_after_h)
        edition = open_edition(
            inst,
            newsletter,
            cadence=schedule.cadence,
            slot=slot.local,
            reason=f"{schedule.cadence} reader",
            held=f"its slot {slot.local} was missed" if late else "",
        )
        opened += edition is not None
        mark_slot(inst, newsletter, schedule.cadence, slot.local)
    return opened


def _open_immediate(inst: Installation, newsletter: Newsletter) -> int:
    edition = open_edition(
        inst,
        newsletter,
        cadence=Cadence.IMMEDIATE,
        slot=inst.clock().strftime("%Y-%m-%dT%H:%M:%SZ"),
        reason="immediate reader",
    )
    return int(edition is not None)


@dataclass
class Clock:
    """Rings for everything that is due, in threads of its own, until it is stopped."""

    inst: Installation
    _stopping: threading.Event = field(default_factory=threading.Event)
    _wait: timedelta = _FIRST_WAIT
    _resume_at: datetime | None = None
    _scheduler: BackgroundScheduler | None = None
    _watch: FolderWatch | None = None
    _collector: Collector | None = None

    def start(self) -> None:
        """Begins to ring, at once and then at intervals."""
        self._collector = Collector(self.inst)
        scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(4)},
            # A loop that was blocked for a second would drop the job silently by default.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        now = self.inst.clock()
        rings = (
            (self.collect, _COLLECT_EVERY_S),
            (self.ask_hubs, _ASK_HUBS_EVERY_S),
            (self.send_letters, _SEND_EVERY_S),
            (self.send, _SEND_EVERY_S),
        )
        for ring, seconds in rings:
            scheduler.add_job(
                self._guarded, "interval", [ring], seconds=seconds, next_run_time=now, id=ring.__name__
            )
        self._scheduler = scheduler
        scheduler.start()
        self._watch = FolderWatch(self.inst, on_change=self.collect_soon)
        self._watch.start()

    def stop(self) -> None:
        """Ends: a window that is on its way is waited for and recorded, no other is begun. A clock that was
        never started has nothing to end.
        """
        self._stopping.set()
        if self._watch is not None:
            self._watch.stop()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
        if self._collector is not None:
            self._collector.close()

    def collect(self) -> None:
        """Collects what is due, refreshes the feeds that changed, opens the editions whose time has come."""
        look_before_slots(self.inst)
        if self._collector is not None:
            reports = self._collector.collect_due(
                patience_s=_COLLECT_EVERY_S, should_stop=self._stopping.is_set
            )
        else:
            reports = collect_due(self.inst)
        if any(report.new or report.changed or report.baseline for report in reports):
            refresh_feeds(self.inst)
        open_due_editions(self.inst)

    def ask_hubs(self) -> None:
        """Asks the hubs that are due to push what sources publish."""
        request_due(self.inst)

    def collect_soon(self, source_id: int) -> None:
        """Collects a source with a ring that comes at once."""
        make_due(self.inst, [source_id])
        if self._scheduler is not None:
            self._scheduler.modify_job(self.collect.__name__, next_run_time=self.inst.clock())

    def send_letters(self) -> None:
        """Sends the letters that wait, in a ring of their own: who has just subscribed must not wait for a
        whole edition.
        """
        if not self._is_waiting():
            send_letters(self.inst)

    def send(self) -> None:
        """Sends whatever editions have readers who are ready; after a fault of the relay none, until a while
        has passed.
        """
        if self._is_waiting():
            return
        for edition in list_unfinished(self.inst):
            if self._stopping.is_set():
                return
            try:
                fault = self._send_one(edition.id)
            except SyndicateError as error:
                # An edition that cannot be sent must not keep the others waiting.
                _log.error("edition_not_sent", edition_id=edition.id, error=str(error))
                continue
            if fault is not None:
                self._resume_at = self.inst.clock() + self._wait
                self._wait = min(self._wait * 2, _LONGEST_WAIT)
                return

    def _is_waiting(self) -> bool:
        return self._resume_at is not None and self.inst.clock() < self._resume_at

    def _send_one(self, edition_id: int) -> RelayError | None:
        if not has_work(self.inst, edition_id):
            return None
        fault = send_edition(self.inst, edition_id, should_stop=self._stopping.is_set).fault
        if fault is None:
            self._wait, self._resume_at = _FIRST_WAIT, None
            return None
        _log.error("relay_failed", edition_id=edition_id, error=str(fault))
        if not fault.is_temporary:
            # Repeating what the relay refuses on principle can lock an account.
            pause_edition(self.inst, edition_id, reason=str(fault))
        return fault

    def _guarded(self, ring: Callable[[], None]) -> None:
        # A ring that fails must not end the clock; what it could not do is still due at the next one.
        try:
            ring()
        except SyndicateError as error:
            _log.error("ring_failed", ring=ring.__name__, error=str(error))
        except Exception:  # noqa: BLE001 - see above; it is logged with its traceback
            _log.exception("ring_failed", ring=ring.__name__)
