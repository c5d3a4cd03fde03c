"""What people get wrong: each mistake has one clear line, its exit code, and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from syndicate.deliver.postbox import Postbox, list_messages
from tests.cli_runner import Program, Result, all_commands, kept_logs

DESTRUCTIVE = {
    "source remove": ("1",),
    "newsletter remove": ("news",),
    "edition cancel": ("1",),
    "subscriber erase": ("ann@example.org",),
    "send": ("news",),
}


RSS = b"<rss version='2.0'><channel><title>Site</title></channel></rss>"
#: What a site on loopback has, by path: status, type, body, and the place it sends to.
PAGES = {
    "/news.xml": (
        200,
        "application/rss+xml",
        RSS,
        "",
    ),
    "/page": (200, "text/html", b"<!doctype html><title>A page</title><p>No feed here.", ""),
    "/empty": (200, "application/rss+xml", b"", ""),
    "/noise": (200, "application/octet-stream", bytes(range(256)) * 9, ""),
    "/away": (302, "text/plain", b"", "http://10.1.2.3/feed"),
}


class Site(BaseHTTPRequestHandler):
    """Answers with what PAGES has."""

    def do_GET(self) -> None:
        status, kind, body, place = PAGES.get(self.path, (404, "text/plain", b"nothing here", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if place:
            self.send_header("Location", place)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """The address of a site on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for the installation that the tests of this module take copies of."""
    return tmp_path_factory.mktemp("made") / "site"


@pytest.fixture
def program(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """An installation with one source, one reader, and one edition of which nothing could be sent."""
    with kept_logs():
        if not made.exists():
            made.mkdir()
            first = Program(made, capsys)
            (made / "letters").mkdir()
            (made / "letters" / "tides.md").write_text("# Of tides\n\nThey come and go.\n", "utf-8")
            first.done("init", "--title", "News", "--from", "letters")
            config = made / "syndicate.toml"
            config.write_text(config.read_text("utf-8").replace("port = 587", "port = 1"), "utf-8")
            first.done("subscriber", "add", "ann@example.org")
            assert first("send", "news", "--yes").code == 1
            first.done("publish")
        shutil.copytree(made, tmp_path / "site")
        yield Program(tmp_path / "site", capsys)


def dump(program: Program) -> list[str]:
    with closing(sqlite3.connect(program.folder / "syndicate.db")) as connection:
        return list(connection.iterdump())


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    assert result.out == ""
    assert "Traceback" not in result.err
    [line] = [line for line in result.err.splitlines() if not line.startswith(("Usage:", "Try ")) and line]
    assert line.startswith(("syndicate: ", "Error: "))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ("sned news", 2, ["Did you mean 'send'?"]),
        ("send", 2, ["NEWSLETTER"]),
        ("send nwes", 2, ["nwes", "one of news"]),
        ("send news --cadence hourly", 2, ["hourly", "weekly"]),
        ("send news --to me@example.org --dry-run", 2, ["--to", "--dry-run"]),
        ("send news --to nonsense", 2, ["nonsense", "@"]),
        ("send news --to me@example.org", 1, ["relay localhost:1", "refused"]),
        ("send news --colour red", 2, ["--colour"]),
        ("preview nwes", 2, ["nwes", "one of news"]),
        ("preview news --for bob@example.org", 1, ["bob@example.org", "leave --for out"]),
        ("preview news --for nonsense", 2, ["nonsense", "@"]),
        ("preview news --out page.pdf", 2, ["page.pdf", ".html"]),
        ("preview news --out syndicate.toml/x.html", 2, ["cannot be written"]),
        ("preview news --out nowhere/x.html", 2, ["nowhere/x.html", "cannot be written"]),
        ("publish --out syndicate.toml", 2, ["syndicate.toml", "cannot be written"]),
        ("publish --out syndicate.toml/site", 2, ["syndicate.toml/site", "cannot be written"]),
        ("collect --source 9", 2, ["unknown source '9'", "one of 1"]),
        ("collect --source first", 2, ["--source"]),
        ("source check 9", 2, ["unknown source '9'"]),
        ("source pause 9", 2, ["unknown source '9'"]),
        ("source remove 9", 2, ["unknown source '9'"]),
        ("source add nowhere", 1, ["nowhere", "neither a folder nor"]),
        ("source add syndicate.toml", 1, ["syndicate.toml"]),
        ("source add MADE/letters", 2, ["letters already, as source 1"]),
        ("source add letters --kind feed", 1, ["letters: is no http or https address, which a feed needs"]),
        ("source add letters --backfill some", 2, ["some", "none, all"]),
        ("source add letters --newsletter nwes", 2, ["nwes", "one of news"]),
        ("source add http://10.1.2.3/feed", 1, ["private address", "[fetch] allow_private"]),
        ("source add http://127.0.0.1/feed", 1, ["private address", "[fetch] allow_private"]),
        ("source add ftp://example.org/feed", 1, ["ftp://example.org/feed"]),
        ("newsletter add news", 2, ["is there already", "newsletter edit news"]),
        ("newsletter add static", 2, ["static", "choose another"]),
        ("newsletter add Notes", 2, ["Notes", "lower-case"]),
        ("newsletter add notes --at 25:00", 2, ["25:00", "07:30"]),
        ("newsletter add notes --weekday someday", 2, ["someday", "monday"]),
        ("newsletter add notes --monthday 31", 2, ["31", "1 to 28"]),
        ("newsletter add notes --cadence hourly", 2, ["hourly"]),
        ("newsletter add notes --time-zone Mars/Up", 2, ["Mars/Up", "Europe/Berlin"]),
        ("newsletter add notes --language x_y", 2, ["x_y", "pt-BR"]),
        ("newsletter add notes --from-email me", 2, ["from-email", "@"]),
        ("newsletter add notes --reply-to me", 2, ["reply-to", "@"]),
        ("newsletter add notes --subject {{nothing}}", 2, ["nothing", "title, lead, count and date"]),
        ("newsletter add notes --subject {{lead", 2, ["subject, line 1"]),
        ("newsletter add notes --topic Sea --topic sea", 2, ["'sea' is the same as 'Sea'"]),
        ("newsletter edit news", 2, ["say what to change"]),
        ("newsletter edit nwes --title X", 2, ["nwes", "one of news"]),
        ("newsletter remove nwes", 2, ["nwes", "one of news"]),
        ("subscriber add nonsense", 2, ["nonsense", "@"]),
        ("subscriber add eve@example.org --topic Sea", 2, ["Sea", "none is on offer"]),
        ("subscriber show eve@example.org", 2, ["eve@example.org", "subscriber list"]),
        ("subscriber show nonsense", 2, ["nonsense", "@"]),
        ("subscriber suppress nonsense", 2, ["nonsense", "@"]),
        ("subscriber erase nonsense", 2, ["nonsense", "@"]),
        ("subscriber list --status bored", 2, ["bored", "paused"]),
        ("subscriber list --newsletter nwes", 2, ["nwes", "one of news"]),
        ("subscriber import nowhere.csv", 2, ["nowhere.csv", "No such file"]),
        ("subscriber import letters", 2, ["letters", "directory"]),
        ("subscriber import syndicate.db", 2, ["syndicate.db, line 1", "'email'"]),
        ("subscriber import syndicate.toml", 2, ["syndicate.toml, line 1", "'email'"]),
        ("subscriber export --out nowhere/x.csv", 2, ["nowhere/x.csv", "cannot be written"]),
        ("edition show 9", 2, ["unknown edition '9'"]),
        ("edition cancel 9 --yes", 2, ["unknown edition '9'"]),
        ("edition approve 1", 1, ["edition 1 is sending"]),
        ("edition resume 1", 1, ["edition 1 is sending", "nothing to resume"]),
        ("edition retry 1", 2, ["--failed", "--uncertain"]),
        ("init", 2, ["syndicate.toml exists already"]),
        ("init syndicate.toml", 2, ["syndicate.toml", "File exists"]),
        ("init other --from nowhere", 1, ["nowhere", "neither a folder nor"]),
        ("init other --from http://127.0.0.1/", 1, ["private address", "leave --from out"]),
        ("init other --url nonsense", 2, ["nonsense", "https://news.example.org"]),
        ("serve --host nonsense.invalid", 1, ["nonsense.invalid"]),
        ("serve --port 99999", 2, ["--port", "65535"]),
        ("--config nowhere.toml source list", 2, ["nowhere.toml", "check --config"]),
        ("--config letters source list", 2, ["letters", "directory"]),
    ],
)
def test_a_mistake_has_one_clear_line_and_changes_nothing(
    program: Program, made: Path, args: str, code: int, words: list[str]
) -> None:
    before = dump(program)
    assert_one_line(program(*args.replace("MADE", str(made)).split()), code, *words)
    assert dump(program) == before
    assert not (program.folder / "other").exists(), "what failed leaves nothing behind"


def test_without_yes_and_without_a_terminal_nothing_is_destroyed(program: Program) -> None:
    asking = {w for w, c in all_commands().items() if any("--yes" in p.opts for p in c.params)}
    assert asking == set(DESTRUCTIVE)
    before = dump(program)
    for words, args in DESTRUCTIVE.items():
        assert_one_line(program(*words.split(), *args), 2, "--yes")
    assert dump(program) == before


def test_a_wrong_call_with_json_is_a_document_too(program: Program) -> None:
    for args in (["sned"], ["send", "nwes"], ["source", "add", "nowhere"], ["edition", "cancel", "1"]):
        result = program(*args, "--json")
        assert set(result.json) == {"error"}
        assert result.json["error"] in result.err


def test_every_mistake_of_a_configuration_is_told_at_once(program: Program) -> None:
    text = '[site]\nurl = "x"\ncolour = "red"\n[smtp]\nport = "y"\ntls = "maybe"\n[mail]\n'
    (program.folder / "bad.toml").write_text(text, "utf-8")
    result = program("source", "list", "--config", "bad.toml")
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("syndicate: bad.toml: ") for line in lines)
    (program.folder / "bad.toml").write_text("[site", "utf-8")
    assert_one_line(program("source", "list", "--config", "bad.toml"), 2, "bad.toml", "not valid TOML")


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100], ids=["none", "empty", "other"])
def test_a_database_that_is_none_is_told_in_one_line(program: Program, content: bytes | None) -> None:
    database = program.folder / "syndicate.db"
    database.unlink()
    if content is not None:
        database.write_bytes(content)
    result = program("source", "list")
    assert_one_line(result, 1, "syndicate.db")
    if not content:
        assert "syndicate migrate" in result.err
        program.done("migrate")
        program.done("source", "list")


def test_a_damaged_database_is_told_in_one_line(program: Program) -> None:
    database = program.folder / "syndicate.db"
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    database.write_bytes(bytes(content))
    assert_one_line(program("source", "list"), 1, "syndicate.db")


def test_a_missing_secret_is_told_before_anything_is_sent(program: Program) -> None:
    (program.folder / "secret.key").unlink()
    before = dump(program)
    assert_one_line(program("preview", "news"), 2, "secret.key")
    assert_one_line(program("send", "news", "--yes"), 2, "secret.key")
    assert dump(program) == before


def test_a_folder_that_holds_data_of_an_installation_is_not_overwritten(program: Program) -> None:
    (program.folder / "syndicate.toml").unlink()
    before = dump(program), (program.folder / "secret.key").read_bytes()
    assert_one_line(program("init"), 2, "secret.key exists already")
    assert (dump(program), (program.folder / "secret.key").read_bytes()) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('tls = "starttls"', ["tls failed"]),
        ('tls = "implicit"', ["tls failed"]),
        ('tls = "none"\nusername = "me"\npassword = "s3cret-word"', ["auth failed"]),
        ('tls = "starttls"\nca_file = "nowhere.pem"', ["nowhere.pem"]),
    ],
)
def test_a_relay_that_is_not_as_the_settings_say_is_told_and_gets_no_mail(
    program: Program, tmp_path: Path, settings: str, words: list[str]
) -> None:
    with Postbox(tmp_path / "mails") as postbox:
        config = program.folder / "syndicate.toml"
        text = config.read_text("utf-8").replace("port = 1\n", f"port = {postbox.address[1]}\n")
        text = text.replace('host = "localhost"', 'host = "127.0.0.1"').replace('tls = "starttls"', settings)
        config.write_text(text, "utf-8")
        tested = program("send", "news", "--to", "me@example.org")
        assert_one_line(tested, tested.code, *words)
        assert tested.code in {1, 2}
        sent = program("send", "news", "--yes")
        assert sent.code in {1, 2}
        assert words[0] in sent.err
        assert "s3cret-word" not in tested.err + sent.err
    assert list_messages(tmp_path / "mails") == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", ["404"]),
        ("page", ["feed"]),
        ("empty", []),
        ("noise", []),
        ("away", ["private address"]),
    ],
)
def test_an_address_without_a_feed_is_told_and_is_no_source(
    program: Program, site: str, path: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_FETCH__ALLOW_PRIVATE", '["127.0.0.1/32"]')
    before = dump(program)
    assert_one_line(program("source", "add", f"{site}/{path}"), 1, f"{site}/{path}", *words)
    assert dump(program) == before
    assert program.done("source", "add", f"{site}/news.xml", "--json").json["source"]["kind"] == "feed"


def test_a_source_that_fails_later_is_told_while_the_others_are_read(
    program: Program, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_FETCH__ALLOW_PRIVATE", '["127.0.0.1/32"]')
    program.done("source", "add", f"{site}/news.xml")
    program.done("collect")
    shutil.move(program.folder / "letters", program.folder / "elsewhere")
    program.done("source", "add", "elsewhere")
    monkeypatch.delenv("SYNDICATE_FETCH__ALLOW_PRIVATE")
    failed = program("source", "check", "2")
    assert failed.code == 1
    assert "source 2: " in failed.err
    assert "private address" in failed.err
    collected = program.done("collect", "--json").json
    assert [(r["source_id"], r["error"]) for r in collected] == [(3, "")]
    assert "private address" in program.done("source", "list").out


def test_a_reader_who_is_suppressed_and_not_known_is_explained(program: Program) -> None:
    program.done("subscriber", "suppress", "eve@example.org", "--reason", "asked by letter")
    assert_one_line(program("subscriber", "show", "eve@example.org"), 2, "manual", "asked by letter")
    assert program("subscriber", "add", "eve@example.org").code == 1


@pytest.mark.parametrize("content", [b"email\rann@example.org\r", bytes(range(256)) * 9, b""])
def test_a_file_that_is_no_list_of_people_is_told_with_its_name(program: Program, content: bytes) -> None:
    (program.folder / "people.csv").write_bytes(content)
    assert_one_line(program("subscriber", "import", "people.csv", "--apply"), 2, "people.csv, line 1: ")
