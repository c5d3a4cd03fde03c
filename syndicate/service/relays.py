"""The relays of an installation at work: which of them gets which message, and what they make of it.

Opens and closes them, and keeps their limits. Knows no ledger: readers are numbers and addresses here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import date, datetime
from functools import partial
from math import inf
from types import TracebackType
from typing import Final, Self

import structlog
from sqlalchemy import Connection

from syndicate.deliver.limits import DomainLimit, DomainLimits, decide_daily_cap
from syndicate.deliver.maildir import MaildirTransport
from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome, OutcomeKind
from syndicate.deliver.routing import Candidate, Dispatcher, Lane
from syndicate.deliver.sendmail import SendmailTransport
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from syndicate.deliver.transport import Transport
from syndicate.errors import RelayError
from syndicate.service.installation import Installation
from syndicate.settings import SmtpSettings
from syndicate.storage import relays
from syndicate.storage.deliveries import ReadyDelivery
from syndicate.storage.engine import writing

__all__ = ["RelayPool", "deliver_letters", "make_relays"]

_log = structlog.get_logger(__name__)

#: How long a relay in trouble gets nothing while others work; our choice.
_CLOSED_S: Final = 60.0

#: How long a relay gets nothing whose rate other senders have used up; our choice.
_BUSY_S: Final = 0.25

#: Outcomes of messages that a relay never saw: they do not count against its day.
_NOT_BEGUN: Final = frozenset({OutcomeKind.UNSENT, OutcomeKind.STALE})


def make_relays(inst: Installation, news: asyncio.Event) -> dict[str, Transport]:
    """The relays of the settings by name, none of them open yet; each tells its news by this event.

    Raises ConfigurationError if a secret or a CA file cannot be read.
    """
    sections = inst.settings.all_relays
    return {name: _make_relay(inst, name, section, news) for name, section in sections.items()}


async def deliver_letters(inst: Installation, envelopes: Sequence[Envelope]) -> DeliveryReport:
    """Hands single messages to the first relay that takes them: what one does not reach, the next one gets.

    ``fault`` is that of the last one, if messages are left that none has taken.
    """
    outcomes: dict[int, Outcome] = {}
    left, fault = list(envelopes), None
    for relay in make_relays(inst, asyncio.Event()).values():
        async with relay:
            report = await relay.deliver(left)
        outcomes |= {outcome.key: outcome for outcome in report.outcomes}
        fault = report.fault
        left = [e for e in left if outcomes[e.key].kind is OutcomeKind.UNSENT]
        if fault is None or not left:
            break
    return DeliveryReport(outcomes=tuple(outcomes[e.key] for e in envelopes), fault=fault if left else None)


class RelayPool:
    """All relays, for one run of one sender; open as long as its context lasts."""

    def __init__(self, inst: Installation) -> None:
        settings = inst.settings
        self.news = asyncio.Event()  #: something came: an outcome, or trouble
        self.fault: RelayError | None = None  #: the last that closed a relay
        self._inst = inst
        self._relays = make_relays(inst, self.news)
        self._limited = {
            name: section
            for name, section in settings.all_relays.items()
            if section.rate_s or section.per_day or section.warm_up_from
        }
        sections = settings.all_relays
        total = sum(section.connections for section in sections.values())
        domains = DomainLimits(
            named={
                name: DomainLimit(connections=domain.connections, rate_s=domain.rate_s)
                for name, domain in settings.domains.items()
            },
            others=DomainLimit(
                connections=settings.delivery.domain_connections, rate_s=settings.delivery.domain_rate_s
            ),
        )
        self._has_domain_limits = domains.are_set
        self._dispatcher = Dispatcher(
            [
                Lane(
                    name=name,
                    # Its share of the window: one that never answers must not fill the whole of it.
                    slots=max(section.connections, settings.window_size * section.connections // total),
                    weight=section.weight,
                    rate_s=section.rate_s,
                )
                for name, section in sections.items()
            ],
            domains=domains,
        )
        self._lane_of: dict[int, str] = {}
        self._unused: Counter[str] = Counter()  #: messages that were counted against a day and not sent
        self._used_up: dict[str, int] = {}  #: relays whose day is over, with their limits
        self._closed: dict[str, float] = {}  #: until when, by the loop's clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Opens no connection yet."""
        for relay in self._relays.values():
            await self._stack.enter_async_context(relay)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye on every connection."""
        await self._stack.__aexit__(kind, error, trace)

    @property
    def waiting(self) -> int:
        """How many readers have been offered and not picked."""
        return self._dispatcher.waiting

    @property
    def connections(self) -> int:
        """How many messages all relays take at once."""
        return sum(relay.connections for relay in self._relays.values())

    @property
    def settled(self) -> int:
        """How many outcomes there are to be taken."""
        return sum(relay.settled for relay in self._relays.values())

    def gather(self, count: int) -> None:
        """From now on that many messages have to be sent to be news, unless connections run out of others."""
        for relay in self._relays.values():
            relay.gather(count // len(self._relays))

    @property
    def is_exhausted(self) -> bool:
        """Whether no relay is left that may get anything."""
        return len(self._closed) == len(self._relays)

    def offer(self, rows: Iterable[ReadyDelivery]) -> list[int]:
        """Takes readers in whose turn it is, and returns those whose domain has too many waiting."""
        domain_of = _domain if self._has_domain_limits else _no_domain
        candidates = [Candidate(row.subscriber_id, domain_of(row.address)) for row in rows]
        return [candidate.key for candidate in self._dispatcher.offer(candidates)]

    def pick(self, limit: int, now_s: float) -> dict[int, str]:
        """Who is next within every limit, at the most so many, each with the relay that is to have it."""
        picked = {candidate.key: lane for candidate, lane in self._dispatcher.pick(limit, now_s)}
        self._lane_of |= picked
        return picked

    def next_turn_s(self, now_s: float) -> float:
        """When somebody may be picked, if nothing but time is in the way."""
        turn_s = self._dispatcher.next_turn_s(now_s) if self._dispatcher.waiting else None
        return inf if turn_s is None else turn_s

    def has_turn(self, now_s: float) -> bool:
        """Whether somebody may be picked now."""
        return self._dispatcher.waiting > 0 and self.next_turn_s(now_s) <= now_s

    def take_turns(self, picked: Mapping[int, str]) -> list[int]:
        """Those of the picked whom the limits of days and of all senders together leave; not on the loop."""
        if not self._limited:
            return list(picked)
        by_lane: defaultdict[str, list[int]] = defaultdict(list)
        for key, lane in picked.items():
            by_lane[lane].append(key)
        now = self._inst.clock()
        today = now.astimezone(self._inst.settings.time_zone).date()
        allowed: list[int] = []
        with writing(self._inst.engine) as conn:
            for lane, keys in sorted(by_lane.items()):
                allowed += keys[: self._take(conn, lane, len(keys), today, now)]
        return allowed

    def put_back(self, rows: Sequence[ReadyDelivery], now_s: float) -> list[int]:
        """Lets readers wait again for whom there was no turn; returns those whom ``offer`` would refuse."""
        for row in rows:
            lane = self._lane_of[row.subscriber_id]
            self.release(row.subscriber_id)
            if lane in self._limited and lane not in self._closed:
                self._dispatcher.close_lane(lane, now_s + _BUSY_S)
        return self.offer(rows)

    def give_up(self, key: int) -> None:
        """Frees the place of a reader who had a turn and was not marked."""
        self._unused[self._lane_of[key]] += 1
        self.release(key)

    def release(self, key: int) -> None:
        """Frees the place of a reader who was picked: nothing is sent to them now."""
        self._dispatcher.release(key)
        self._lane_of.pop(key, None)

    def submit(self, envelopes: Iterable[Envelope]) -> None:
        """Hands messages to the relays for which their readers were picked."""
        by_lane: defaultdict[str, list[Envelope]] = defaultdict(list)
        for envelope in envelopes:
            by_lane[self._lane_of[envelope.key]].append(envelope)
        for lane, theirs in by_lane.items():
            self._relays[lane].submit(theirs)

    def take_outcomes(self) -> list[Outcome]:
        """What came since the last call; looks after the relays that stopped, too."""
        found: list[Outcome] = []
        for name, relay in self._relays.items():
            outcomes = relay.take_outcomes()
            found += outcomes
            if name in self._limited:
                self._unused[name] += sum(o.kind in _NOT_BEGUN for o in outcomes)
            self._look_at(name, relay)
        for name, cap in self._used_up.items():
            words = f"its {cap} messages of today are sent; more tomorrow"
            self._close(name, RelayError(name, "limit", words, is_temporary=True), inf)
        self._used_up.clear()
        for outcome in found:
            self.release(outcome.key)
        return found

    def withdraw(self) -> list[int]:
        """Takes back what no connection has begun, and forgets who waits; returns the readers."""
        self._dispatcher.drop_waiting()
        back = [envelope.key for relay in self._relays.values() for envelope in relay.withdraw()]
        for key in back:
            self.release(key)
        return back

    def take_back_stale(self, now_s: float) -> list[int]:
        """Takes back what has waited so long for a connection that it may not be begun any more."""
        back: list[int] = []
        for relay in self._relays.values():
            relay.let_go(now_s)
            if relay.waiting:
                envelopes = relay.withdraw()
                relay.submit(e for e in envelopes if e.begin_before_s >= now_s)
                back += [e.key for e in envelopes if e.begin_before_s < now_s]
        for key in back:
            self.release(key)
        return back

    def abort(self) -> None:
        """Ends every connection: content that may have left is uncertain."""
        for relay in self._relays.values():
            relay.abort()

    def _look_at(self, name: str, relay: Transport) -> None:
        now_s = asyncio.get_running_loop().time()
        if name in self._closed:
            if now_s >= self._closed[name]:
                del self._closed[name]
                relay.reset()
                self._dispatcher.open_lane(name)
        elif relay.fault is not None:
            _log.error("relay_failed", relay=name, stage=relay.fault.stage, reply=relay.fault.reply)
            self._close(name, relay.fault, now_s + _CLOSED_S if relay.fault.is_temporary else inf)

    def _close(self, name: str, fault: RelayError, until_s: float) -> None:
        # What an operator has to see to is told rather than what will pass.
        if self.fault is None or self.fault.is_temporary:
            self.fault = fault
        self._closed[name] = until_s
        self._dispatcher.close_lane(name, inf)

    def _take(self, conn: Connection, lane: str, count: int, today: date, now: datetime) -> int:
        section = self._limited.get(lane)
        if section is None:
            return count
        if unused := self._unused.pop(lane, 0):
            relays.give_back(conn, lane, today, unused)
        cap = decide_daily_cap(section, today)
        taken = relays.take_turns(
            conn, lane, limit=count, rate_s=section.rate_s, day=today, per_day=cap, now=now
        )
        if not taken and cap is not None:
            sent = {usage.relay: usage.sent for usage in relays.list_usage(conn, today)}
            if sent.get(lane, 0) >= cap:
                self._used_up[lane] = cap
        return taken


def _make_relay(inst: Installation, name: str, section: SmtpSettings, news: asyncio.Event) -> Transport:
    folder = inst.settings.folder
    if section.transport == "maildir" and section.path is not None:
        return MaildirTransport(folder / section.path, connections=section.connections, news=news)
    if section.transport == "sendmail" and section.path is not None:
        return SendmailTransport(section.path, connections=section.connections, news=news)
    return SmtpRelay(
        RelaySettings(
            host=section.host,
            port=section.port,
            username=section.username,
            read_password=partial(inst.settings.relay_password, name),
            auth=section.auth,
            tls=section.tls,
            insecure=section.insecure,
            ca_file=folder / section.ca_file if section.ca_file else None,
            connections=section.connections,
            rate_s=section.rate_s,
            messages_per_connection=section.messages_per_connection,
        ),
        news=news,
    )


def _no_domain(_address: str) -> str:
    return ""


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
