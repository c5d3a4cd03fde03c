import asyncio
import smtplib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syndicate.deliver.outcome import Envelope
from syndicate.deliver.postbox import Postbox, get_message, list_messages
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from syndicate.errors import NotFound, OperationError

BODY = (
    b"From: =?utf-8?q?Die_B=C3=BCcher?= <news@example.org>\r\n"
    b"Subject: =?utf-8?b?w4RwZmVs?=\r\n"
    b"\r\n"
    b".dot\r\n"
    b"end\r\n"
)


def send(postbox: Postbox, *recipients: str, message: bytes = BODY) -> list[str]:
    """Hands over with the real client; returns the outcomes' kinds."""
    host, port = postbox.address
    settings = RelaySettings(
        host=host,
        port=port,
        username="",
        read_password=lambda: "",
        tls="none",
        connections=2,
        rate_s=0.0,
        local_hostname="client.example.org",
    )

    async def work() -> list[str]:
        async with SmtpRelay(settings) as relay:
            report = await relay.deliver(
                [
                    Envelope(key=key, sender="bounce@example.org", recipient=recipient, pieces=(message,))
                    for key, recipient in enumerate(recipients)
                ]
            )
        assert report.fault is None
        return [outcome.kind.value for outcome in report.outcomes]

    return asyncio.run(work())


def test_what_the_relay_takes_is_on_the_disk_byte_for_byte_with_its_envelope(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "postbox"
    with Postbox(folder) as postbox:
        assert postbox.address[0] == "127.0.0.1"
        assert send(postbox, "reader@example.com") == ["sent"]
        (stored,) = list_messages(folder)
    assert (stored.to, stored.sender, stored.subject) == (
        "reader@example.com",
        "Die Bücher <news@example.org>",
        "Äpfel",
    )
    assert abs(stored.date - datetime.now(UTC)) < timedelta(minutes=10)
    message = get_message(folder, stored.key)
    trace = b"Return-Path: <bounce@example.org>\r\nX-Original-To: reader@example.com\r\n"
    assert message == trace + BODY
    assert stored.size_bytes == len(message)


def test_the_newest_message_comes_first(tmp_path: Path) -> None:
    with Postbox(tmp_path / "box") as postbox:
        for number in range(12):
            send(postbox, f"reader{number}@example.com")
    listed = list_messages(tmp_path / "box")
    assert [stored.to for stored in listed] == [f"reader{n}@example.com" for n in reversed(range(12))]


def test_messages_of_one_second_are_in_the_order_of_their_numbers_not_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for key in ("7.M9P1Q1.host", "7.M10P1Q2.host", "7.M10P1Q10.host", "10.M1P1Q11.host", "notes.txt"):
        (tmp_path / "new" / key).write_bytes(BODY)
    assert [stored.key for stored in list_messages(tmp_path)] == [
        "10.M1P1Q11.host",
        "7.M10P1Q10.host",
        "7.M10P1Q2.host",
        "7.M9P1Q1.host",
    ]


def test_every_message_of_many_is_kept_once(tmp_path: Path) -> None:
    recipients = [f"reader{n}@example.com" for n in range(40)]
    with Postbox(tmp_path / "box") as postbox:
        assert set(send(postbox, *recipients)) == {"sent"}
    assert sorted(stored.to for stored in list_messages(tmp_path / "box")) == sorted(recipients)


def test_what_was_kept_is_still_there_after_a_restart(tmp_path: Path) -> None:
    for recipient in ("a@example.com", "b@example.com"):
        with Postbox(tmp_path / "box") as postbox:
            send(postbox, recipient)
    assert [stored.to for stored in list_messages(tmp_path / "box")] == ["b@example.com", "a@example.com"]


def test_a_message_for_two_people_is_kept_for_each(tmp_path: Path) -> None:
    with Postbox(tmp_path / "box") as postbox, smtplib.SMTP(*postbox.address) as client:
        client.sendmail("x@example.org", ["a@example.com", "b@example.com"], BODY)
    assert {stored.to for stored in list_messages(tmp_path / "box")} == {"a@example.com", "b@example.com"}


def test_a_message_that_cannot_be_stored_is_not_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    with Postbox(folder) as postbox:
        (folder / "tmp").rmdir()
        assert send(postbox, "reader@example.com") == ["deferred"]
    assert list_messages(folder) == []


def test_stopping_closes_a_connection_that_nobody_has_finished(tmp_path: Path) -> None:
    with Postbox(tmp_path / "box") as postbox:
        client = socket.create_connection(postbox.address, timeout=30)
        assert client.recv(100).startswith(b"220 ")
    with client:
        assert client.recv(100) == b""


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with Postbox(tmp_path / "one") as first:
        port = first.address[1]
        with pytest.raises(OperationError, match=f"port {port}: Address already in use"):
            Postbox(tmp_path / "two", port=port).__enter__()


def test_a_postbox_that_was_never_used_is_empty(tmp_path: Path) -> None:
    assert list_messages(tmp_path / "nowhere") == []


def test_headers_that_make_no_sense_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    message = b"Subject: =?nonsense?q?x?= =?utf-8?b?!?= \xff\r\n\tsecond\r\n\r\nx\r\n"
    with Postbox(tmp_path / "box") as postbox, smtplib.SMTP(*postbox.address) as client:
        client.sendmail("x@example.org", "a@example.com", message)
    (stored,) = list_messages(tmp_path / "box")
    assert stored.subject.isprintable()
    assert stored.sender == ""


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "../secret",
        "/etc/passwd",
        "1.M1P1Q1.host/../../../secret",
        "1.M1P1Q1.host",
        "secret",
        "1.M1P1Q1.a\0b",
        "1.M1P1Q1.host\n",
        "1.M1P1Q1." + "a" * 300,
    ],
)
def test_a_key_opens_messages_and_nothing_else(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("private")
    with Postbox(tmp_path / "box") as postbox:
        send(postbox, "reader@example.com")
    (tmp_path / "box" / "new" / "secret").write_text("private")
    with pytest.raises(NotFound):
        get_message(tmp_path / "box", key)
