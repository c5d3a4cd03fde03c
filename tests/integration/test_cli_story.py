"""A newcomer's way from an empty folder to readers who have mail, and each command with --json."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from syndicate.deliver.postbox import Postbox, list_messages
from tests.cli_runner import Program, all_commands, kept_logs, words_of


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    with kept_logs():
        yield Program(tmp_path, capsys)


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    with Postbox(tmp_path / "mails") as postbox:
        yield postbox


def write_articles(folder: Path, *titles: str) -> None:
    """Articles of long ago: those of a moment ago are read as soon as they are settled."""
    folder.mkdir(exist_ok=True)
    for n, title in enumerate(titles, start=1):
        text = f"---\ntitle: {title}\ndate: 2026-03-{n:02}\ntags: [Coast]\n---\nAbout {title}.\n"
        path = folder / f"{title.lower().replace(' ', '-')}.md"
        path.write_text(text, "utf-8")
        os.utime(path, (1_700_000_000, 1_700_000_000))


def use_relay(config: Path, postbox: Postbox) -> None:
    host, port = postbox.address
    text = config.read_text("utf-8").replace('host = "localhost"', f'host = "{host}"')
    config.write_text(text.replace("port = 587", f"port = {port}").replace('"starttls"', '"none"'), "utf-8")


def test_from_an_empty_folder_to_readers_who_have_mail(
    program: Program, postbox: Postbox, tmp_path: Path
) -> None:
    write_articles(tmp_path / "letters", "Of tides", "Of oaks")
    # Written this very moment, and read all the same once it is settled.
    (tmp_path / "letters" / "broken.md").write_text("---\ntitle: [open\n---\nx", "utf-8")

    made = program.done("init", "site", "--from", "letters")
    assert "Collected 2 articles" in made.out
    assert "broken.md" in made.err, "an article that cannot be read is named, and the others are there"
    commands = re.findall(r"^  syndicate (.+?)  ", made.out, re.MULTILINE)
    assert commands
    assert {words_of(c.split()) for c in commands} <= set(all_commands())
    program.folder = tmp_path / "site"
    use_relay(program.folder / "syndicate.toml", postbox)

    assert "nobody subscribes" in program.done("send", "letters").out
    assert "active in 'letters'" in program.done("subscriber", "add", "ann@example.org", "--name", "Ann").out
    assert "Would send 'Of oaks and 1 more' to 1 reader:" in program.done("send", "letters", "--dry-run").out
    assert "Of tides" in program.done("preview", "letters").out
    assert "sent" in program.done("send", "letters", "--to", "me@example.org").out

    sent = program.done("send", "letters", "--yes")
    assert sent.out == "Edition 1 'Of oaks and 1 more' is sent: 1 sent.\n"
    assert "nothing new to any reader" in program.done("send", "letters", "--yes").out
    assert [m.to for m in list_messages(tmp_path / "mails")] == ["ann@example.org", "me@example.org"]

    shown = program.done("edition", "show", "1").out
    assert re.search(r"^sent +1$", shown, re.MULTILINE)
    assert re.search(r"opened 20\d\d-\d\d-\d\d \d\d:\d\d UTC, finished", shown)


def test_a_preview_is_written_as_its_file_is_named(program: Program, tmp_path: Path) -> None:
    write_articles(tmp_path / "letters", "Of tides")
    program.done("init", "--from", "letters")
    slug = program.done("newsletter", "list", "--json").json[0]["slug"]
    program.done("subscriber", "add", "ann@example.org")
    for name, begins in (("a.eml", b"To: ann@example.org"), ("a.html", b"<!doctype html>"), ("a.txt", b"")):
        program.done("preview", slug, "--for", "Ann@Example.org", "--out", name)
        content = (tmp_path / name).read_bytes()
        assert content.lower().startswith(begins.lower()), content[:100]
        assert b"Of tides" in content
    assert program("preview", slug, "--for", "bob@example.org").code == 1


def test_a_broken_template_of_the_operators_own_is_named_with_its_line(
    program: Program, tmp_path: Path
) -> None:
    write_articles(tmp_path / "letters", "Of tides")
    program.done("init", "--from", "letters", "--title", "News")
    (tmp_path / "own" / "email").mkdir(parents=True)
    (tmp_path / "own" / "email" / "digest.html").write_text("<p>\n{{ nothing.of.that }}\n</p>", "utf-8")
    config = tmp_path / "syndicate.toml"
    config.write_text(config.read_text("utf-8").replace("[site]", '[site]\ntemplates = "own"'), "utf-8")
    result = program("preview", "news")
    assert result.code == 1
    assert re.fullmatch(r"syndicate: email/digest\.html, line 2: .+\n", result.err)


def test_a_refused_relay_loses_nothing_and_the_next_send_goes_on(
    program: Program, postbox: Postbox, tmp_path: Path
) -> None:
    write_articles(tmp_path / "letters", "Of tides")
    program.done("init", "--from", "letters", "--title", "News")
    config = tmp_path / "syndicate.toml"
    config.write_text(config.read_text("utf-8").replace("port = 587", "port = 1"), "utf-8")
    program.done("subscriber", "add", "ann@example.org")
    failed = program("send", "news", "--yes")
    assert failed.code == 1
    assert "relay localhost:1" in failed.err
    assert "[smtp]" in failed.err
    assert program("send", "news").code == 2, "finishing what was begun is sending, too, and asks"
    text = config.read_text("utf-8").replace("port = 1", "port = 587")
    config.write_text(text, "utf-8")
    use_relay(config, postbox)
    assert program.done("send", "news", "--yes").out == "Edition 1 'Of tides' is sent: 1 sent.\n"


def test_each_command_prints_exactly_one_json_document(
    program: Program, postbox: Postbox, tmp_path: Path
) -> None:
    write_articles(tmp_path / "letters", "Of tides", "Of oaks")
    write_articles(tmp_path / "more", "Of rooks")
    (tmp_path / "people.csv").write_text("email,name\nann@example.org,Ann\nbob,\n", "utf-8")
    called = set()

    def ask(*args: str, code: int = 0) -> object:
        called.add(words_of(args))
        result = program(*args, "--json")
        assert result.code == code, (args, result)
        return result.json

    ask("init", "--from", "letters", "--title", "News")
    use_relay(tmp_path / "syndicate.toml", postbox)
    ask("migrate")
    added = ask("source", "add", "more", "--backfill", "all")
    assert isinstance(added, dict)
    assert added["source"]["id"] == 2
    ask("source", "list")
    ask("collect")
    ask("collect", "--source", "2")
    ask("collect")
    ask("source", "check", "1")
    ask("source", "pause", "1")
    ask("source", "resume", "1")
    ask("newsletter", "add", "second")
    ask("newsletter", "edit", "second", "--title", "The second")
    listed = ask("newsletter", "list")
    assert isinstance(listed, list)
    assert [(n["slug"], n["title"]) for n in listed] == [("news", "News"), ("second", "The second")]
    ask("newsletter", "remove", "second", "--yes")
    ask("publish")
    ask("publish", "--out", "public")
    ask("send", "news", "--dry-run")
    ask("send", "news")
    ask("subscriber", "import", "people.csv")
    ask("subscriber", "import", "people.csv", "--apply")
    ask("subscriber", "add", "eve@example.org")
    ask("subscriber", "suppress", "eve@example.org")
    ask("subscriber", "add", "eve@example.org", code=1)
    ask("subscriber", "list")
    ask("subscriber", "show", "ann@example.org")
    ask("subscriber", "export", code=2)
    ask("subscriber", "export", "--out", "out.csv")
    ask("preview", "news")
    ask("preview", "news", "--out", "digest.html")
    ask("send", "news", "--to", "me@example.org")
    ask("send", "news", "--dry-run")
    ask("send", "news", code=2)
    ask("send", "news", "--yes")
    ask("edition", "list")
    edition = ask("edition", "show", "1")
    assert isinstance(edition, dict)
    assert (edition["id"], edition["state"]) == (1, "sent")
    assert edition["deliveries"] == {
        "pending": 0, "attempting": 0, "sent": 1, "deferred": 0, "failed": 0, "uncertain": 0, "skipped": 0,
    }  # fmt: skip
    ask("edition", "retry", "1", "--failed")
    ask("edition", "approve", "1", code=1)
    ask("edition", "pause", "1", code=1)
    ask("edition", "hold", "1", code=1)
    ask("edition", "resume", "1", code=1)
    ask("edition", "cancel", "1", "--yes", code=1)
    ask("dkim", "generate", "--domain", "example.org")
    ask("dkim", "show", code=2)
    ask("subscriber", "erase", "ann@example.org", "--yes")
    shown = ask("source", "show", "2")
    assert isinstance(shown, dict)
    assert (shown["source"]["id"], shown["held"]) == (2, 0)
    ask("source", "change", "2", "--approval", "--rule", "exclude title /advert/")
    ask("source", "change", "2", "--rule", "no rule", code=2)
    assert ask("source", "held") == []
    ask("source", "release", "2")
    ask("source", "dismiss", "2")
    ask("source", "export", code=2)
    ask("source", "export", "feeds.opml")
    ask("source", "import", "feeds.opml", "--newsletter", "news", "--dry-run")
    ask("source", "remove", "2", "--yes")
    ask("demo", "--once")
    assert called == set(all_commands()) - {"serve"}, "serve has no result: it runs until it is stopped"


def test_a_static_site_has_every_page_and_the_next_export_writes_nothing(
    program: Program, tmp_path: Path
) -> None:
    write_articles(tmp_path / "letters", "Of tides")
    program.done("init", "--from", "letters", "--title", "News")
    first = program.done("publish", "--out", "public", "--json").json["files"]
    assert first["total"] == first["changed"] > 5
    assert "Of tides" in (tmp_path / "public" / "news" / "index.html").read_text("utf-8")
    assert program.done("publish", "--out", "public", "--json").json["files"]["changed"] == 0
