import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme

from syndicate.deliver.outcome import DeliveryReport, Envelope
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from tests.smtp_server import DROP, ScriptedServer

BODY = b"Subject: Hello\r\n\r\n.dot\r\nend\r\n"
AUTH = ("AUTH PLAIN LOGIN", "SIZE 10000000")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def context(cert: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(made)
    return made


def good(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1")


def wrong_host(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("other.example.org")


def expired(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))


def unknown_authority(_ca: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("127.0.0.1")


def deliver(server: ScriptedServer, tls: Literal["starttls", "implicit"], **changes: Any) -> DeliveryReport:
    values: dict[str, Any] = {
        "username": "us",
        "read_password": lambda: "canary-7d1f",
        "connections": 2,
        "rate_s": 0.0,
        "local_hostname": "client.example.org",
    }

    async def work() -> DeliveryReport:
        async with server:
            settings = RelaySettings(host="127.0.0.1", port=server.port, tls=tls, **values | changes)
            async with SmtpRelay(settings) as relay:
                return await relay.deliver(
                    [
                        Envelope(
                            key=key,
                            sender="news@example.org",
                            recipient=f"reader{key}@example.com",
                            pieces=(BODY,),
                        )
                        for key in (1, 2, 3)
                    ]
                )

    return asyncio.run(work())


def assert_nothing_was_given_away(server: ScriptedServer, report: DeliveryReport) -> None:
    assert [outcome.kind.value for outcome in report.outcomes] == ["unsent"] * 3
    assert report.fault is not None
    assert report.fault.stage == "tls"
    assert "canary" not in f"{report!r} {report.fault}"
    assert set(server.verbs) <= {"EHLO", "STARTTLS"}


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mail_goes_over_a_verified_connection(
    authority: trustme.CA, ca_file: Path, tls: Literal["starttls", "implicit"]
) -> None:
    is_implicit = tls == "implicit"
    server = ScriptedServer(tls=context(good(authority)), is_implicit=is_implicit, extensions=AUTH)
    report = deliver(server, tls, ca_file=ca_file)
    assert report.fault is None
    assert [outcome.kind.value for outcome in report.outcomes] == ["sent"] * 3
    assert {a.content for a in server.accepted} == {BODY}
    assert server.verbs.count("AUTH") == server.connections == 2
    assert server.verbs.count("EHLO") == (2 if is_implicit else 4)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("issue", "words"),
    [
        (wrong_host, "IP address mismatch"),
        (expired, "certificate has expired"),
        (unknown_authority, "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_does_not_hold_ends_it_before_anything_is_given_away(
    authority: trustme.CA,
    ca_file: Path,
    tls: Literal["starttls", "implicit"],
    issue: Callable[[trustme.CA], trustme.LeafCert],
    words: str,
) -> None:
    server = ScriptedServer(tls=context(issue(authority)), is_implicit=tls == "implicit", extensions=AUTH)
    report = deliver(server, tls, ca_file=ca_file)
    assert_nothing_was_given_away(server, report)
    assert report.fault is not None
    assert not report.fault.is_temporary
    assert words in report.fault.reply


def test_an_authority_that_nobody_named_is_not_trusted(authority: trustme.CA) -> None:
    server = ScriptedServer(tls=context(good(authority)), extensions=AUTH)
    assert_nothing_was_given_away(server, deliver(server, "starttls"))


def test_without_starttls_there_is_no_mail_in_clear_text() -> None:
    server = ScriptedServer(extensions=AUTH)
    report = deliver(server, "starttls")
    assert_nothing_was_given_away(server, report)
    assert report.fault is not None
    assert not report.fault.is_temporary
    assert "STARTTLS is not offered" in report.fault.reply


@pytest.mark.parametrize(
    ("says", "is_temporary"),
    [
        ("454 4.7.0 TLS not available", True),
        ("421 4.3.2 closing", True),
        (DROP, True),
        ("HTTP/1.1 400 Bad Request", True),
        ("501 5.5.4 no", False),
        ("554 5.7.0 no", False),
    ],
)
def test_a_refused_starttls_is_never_done_without(
    authority: trustme.CA,
    ca_file: Path,
    says: str,
    is_temporary: bool,  # noqa: FBT001 - a column of the table
) -> None:
    server = ScriptedServer(tls=context(good(authority)), plan={"starttls": says}, extensions=AUTH)
    report = deliver(server, "starttls", ca_file=ca_file)
    assert_nothing_was_given_away(server, report)
    assert report.fault is not None
    assert report.fault.is_temporary is is_temporary


@pytest.mark.parametrize(
    "injected", ["250-scripted.example\r\n250 AUTH LOGIN", "250 scripted.example", "not even a reply", "25"]
)
def test_what_is_said_in_clear_text_after_220_ends_it_before_anything_is_given_away(
    authority: trustme.CA, ca_file: Path, injected: str
) -> None:
    server = ScriptedServer(
        tls=context(good(authority)), plan={"starttls": f"220 go ahead\r\n{injected}"}, extensions=AUTH
    )
    report = deliver(server, "starttls", ca_file=ca_file)
    assert_nothing_was_given_away(server, report)
    assert report.fault is not None
    assert report.fault.is_temporary


def test_what_was_offered_in_clear_text_counts_for_nothing_under_tls(
    authority: trustme.CA, ca_file: Path
) -> None:
    before = "250-scripted.example\r\n250-SIZE 10\r\n250-AUTH LOGIN\r\n250 STARTTLS"
    after = "250-scripted.example\r\n250 AUTH PLAIN"
    server = ScriptedServer(tls=context(good(authority)), plan={"ehlo": [before, after]})
    report = deliver(server, "starttls", ca_file=ca_file, connections=1)
    assert [outcome.kind.value for outcome in report.outcomes] == ["sent"] * 3
    assert [c for c in server.commands if c.startswith("AUTH")] == ["AUTH PLAIN AHVzAGNhbmFyeS03ZDFm"]
    assert not any("SIZE=" in command for command in server.commands)


def test_a_server_that_speaks_clear_text_where_tls_is_expected_gets_nothing() -> None:
    server = ScriptedServer(extensions=AUTH)
    report = deliver(server, "implicit")
    assert_nothing_was_given_away(server, report)
    assert report.fault is not None
    assert "TLS handshake failed" in report.fault.reply


def test_a_message_dropped_under_tls_after_its_content_is_uncertain(
    authority: trustme.CA, ca_file: Path
) -> None:
    server = ScriptedServer(
        tls=context(good(authority)),
        extensions=AUTH,
        recipients={"reader1@example.com": {"dot": DROP}, "reader2@example.com": {"rcpt": DROP}},
    )
    report = deliver(server, "starttls", ca_file=ca_file, connections=1)
    assert [outcome.kind.value for outcome in report.outcomes] == ["uncertain", "deferred", "sent"]
