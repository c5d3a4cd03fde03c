"""Answers that never come, that ask to wait, and connections that cannot be trusted."""

from __future__ import annotations

import random
import ssl
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import Engine

from syndicate.model import DeliveryState, EditionState, UncertainPolicy
from syndicate.service.sending import SendReport, send_edition
from tests.faults.tarpit import Figures, send_beside_slow_domain, send_beside_slow_relay
from tests.faults.unclear import send_greylisted, send_unclear
from tests.faults.world import address_of, list_rows, prepare, take_account
from tests.installation_builders import FakeClock, make_installation, relay_in_thread
from tests.smtp_server import DROP, ScriptedServer

S = DeliveryState
READERS = 12


@pytest.mark.parametrize("policy", UncertainPolicy)
def test_of_answers_that_never_come_exactly_those_cost_a_copy_that_were_accepted(
    sqlite_engine: Engine, tmp_path: Path, policy: UncertainPolicy
) -> None:
    seed = random.SystemRandom().randrange(10**6)

    figures = send_unclear(sqlite_engine, tmp_path, readers=200, policy=policy, seed=seed)

    sys.stdout.write(f"{figures}\n")  # shown where it fails, with the seed
    figures.check()


def test_who_is_greylisted_is_served_at_the_second_try(sqlite_engine: Engine, tmp_path: Path) -> None:

    figures = send_greylisted(sqlite_engine, tmp_path, readers=100)

    sys.stdout.write(f"{figures}\n")
    figures.check()


@pytest.mark.parametrize("send", [send_beside_slow_relay, send_beside_slow_domain])
def test_a_relay_or_a_domain_that_never_answers_holds_up_nobody_else(
    sqlite_engine: Engine, tmp_path: Path, send: Callable[..., Figures]
) -> None:
    figures = send(sqlite_engine, tmp_path, readers=60)

    sys.stdout.write(f"{figures}\n")
    figures.check()


AUTHORITY = trustme.CA()


def with_certificate(authority: trustme.CA = AUTHORITY, **details: Any) -> ScriptedServer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*details.pop("names", ["127.0.0.1"]), **details).configure_cert(context)
    return ScriptedServer(tls=context)


def wrong_name() -> ScriptedServer:
    return with_certificate(names=["elsewhere.example.org"])


def expired() -> ScriptedServer:
    return with_certificate(not_after=datetime(2020, 1, 1, tzinfo=UTC))


def unknown_authority() -> ScriptedServer:
    return with_certificate(trustme.CA())


def stripped() -> ScriptedServer:
    return ScriptedServer()


def refused() -> ScriptedServer:
    return ScriptedServer(
        plan={"ehlo": "250-scripted.example\r\n250 STARTTLS", "starttls": "454 4.7.0 not now"}
    )


def broken_off() -> ScriptedServer:
    return ScriptedServer(plan={"ehlo": "250-scripted.example\r\n250 STARTTLS", "starttls": DROP})


@pytest.mark.parametrize("broken", [wrong_name, expired, unknown_authority, stripped, refused, broken_off])
def test_where_no_encrypted_connection_can_be_trusted_nobody_is_blamed_and_all_is_sent_once_it_is_repaired(
    sqlite_engine: Engine, tmp_path: Path, broken: Callable[[], ScriptedServer]
) -> None:
    edition = prepare(sqlite_engine, tmp_path, READERS, clock=FakeClock())

    with relay_in_thread(server=broken()) as relay:
        report = send_over_tls(sqlite_engine, tmp_path, relay, edition.id)

        assert report.fault is not None
        assert report.fault.stage == "tls"
        assert (report.edition.state, report.sent) == (EditionState.SENDING, 0)
        assert set(relay.verbs) <= {"EHLO", "STARTTLS", "QUIT"}
    assert {(row.state, row.attempts) for row in list_rows(sqlite_engine, edition.id)} == {(S.PENDING, 0)}

    with relay_in_thread(server=with_certificate()) as relay:
        report = send_over_tls(sqlite_engine, tmp_path, relay, edition.id)

        assert (report.edition.state, report.sent, report.fault) == (EditionState.SENT, READERS, None)
        account = take_account(sqlite_engine, edition.id, relay.accepted)
    account.check()
    assert account.copies == {address_of(n): 1 for n in range(READERS)}


def test_a_certificate_that_expires_in_the_middle_ends_the_run_and_blames_nobody(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    edition = prepare(sqlite_engine, tmp_path, READERS, clock=FakeClock())
    with ExitStack() as stack:
        relay = stack.enter_context(relay_in_thread(server=ExpiringServer(after=3)))
        report = send_over_tls(sqlite_engine, tmp_path, relay, edition.id)

        assert report.fault is not None
        assert report.fault.stage == "tls"
        assert report.edition.state is EditionState.SENDING
        account = take_account(sqlite_engine, edition.id, relay.accepted)
        account.check()
        assert sum(account.copies.values()) == report.sent == report.counts[S.SENT] == 3
        # The one whose content had not begun, and those who had not come up.
        assert report.counts[S.PENDING] == READERS - 3

        accepted = list(relay.accepted)
        relay = stack.enter_context(relay_in_thread(server=with_certificate()))
        send_over_tls(sqlite_engine, tmp_path, relay, edition.id)
        account = take_account(sqlite_engine, edition.id, accepted + relay.accepted)
    account.check()
    assert account.copies == {address_of(n): 1 for n in range(READERS)}


class ExpiringServer(ScriptedServer):
    """Says 421 after some messages, and has an expired certificate from then on."""

    def __init__(self, *, after: int) -> None:
        self._after = after
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
        super().__init__(tls=context)

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if stage == "mail" and len(self.accepted) >= self._after:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            cert = AUTHORITY.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
            cert.configure_cert(context)
            self._tls = context
            return "421 4.3.2 closing"
        return super()._next(wire, stage, recipient, default)


def send_over_tls(engine: Engine, folder: Path, relay: ScriptedServer, edition_id: int) -> SendReport:
    ca_file = folder / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(ca_file)
    smtp = {"tls": "starttls", "ca_file": ca_file}
    inst = make_installation(
        engine, folder, port=relay.port, clock=FakeClock(), smtp=smtp, connections=1, window=4
    )
    return send_edition(inst, edition_id)
