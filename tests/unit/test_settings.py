from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from typing import get_args

import pytest

from syndicate.errors import ConfigurationError
from syndicate.settings import Settings, load_settings, template_folders

Write = Callable[[str], Path]
SECRET = "canary-secret-of-thirty-two-chars"
PASSWORD = "canary-password"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SYNDICATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file and returns its path."""

    def write(content: str) -> Path:
        path = tmp_path / "syndicate.toml"
        path.write_text(content, "utf-8")
        return path

    return write


def problems(path: Path | None) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_an_empty_file_gives_the_defaults(write: Write, tmp_path: Path) -> None:
    loaded = load_settings(write(""))

    assert (loaded.site.title, loaded.site.url) == ("Syndicate", "http://127.0.0.1:8000")
    assert (loaded.smtp.host, loaded.smtp.port, loaded.smtp.tls) == ("localhost", 587, "starttls")
    assert (loaded.fetch.allow_private, loaded.fetch.max_bytes) == ((), 10_485_760)
    assert (loaded.delivery.connections, loaded.window_size) == (8, 8)
    assert loaded.folder == tmp_path
    assert loaded.relay_password("smtp") == ""


def test_a_full_file_is_read_as_it_stands(write: Write) -> None:
    loaded = load_settings(
        write(
            """
            [site]
            title = "Tide & Timber"
            url = "https://news.example.org/"
            time_zone = "Europe/Berlin"

            [smtp]
            host = "relay.example.org"
            port = 465
            tls = "implicit"
            username = "u"
            password = "p"

            [fetch]
            allow_private = ["10.1.0.0/16", "fd00::/8"]

            [delivery]
            connections = 4
            window = 20
            rate_s = 2.5
            """
        )
    )

    assert loaded.site.title == "Tide & Timber"
    assert loaded.site.url == "https://news.example.org", "links are joined to it with a slash"
    assert loaded.time_zone.key == "Europe/Berlin"
    assert (loaded.smtp.port, loaded.smtp.tls, loaded.relay_password("smtp")) == (465, "implicit", "p")
    assert loaded.fetch.allow_private == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert (loaded.window_size, loaded.delivery.rate_s) == (20, 2.5)


def test_every_mistake_is_listed_at_once_each_in_a_line_with_its_place(write: Write) -> None:
    path = write(
        """
        [site]
        url = "news.example.org"
        time_zone = "Europe/Berlon"
        colour = "blue"

        [smtp]
        port = 99999
        tls = "ssl"

        [fetch]
        allow_private = ["intranet", "10.1.0.0/16"]
        max_bytes = "much"

        [delivery]
        connections = 0

        [smpt]
        host = "x"
        """
    )

    found = problems(path)

    places = [problem.removeprefix(f"{path}: ").split(": ")[0] for problem in found]
    assert sorted(places) == [
        "[delivery] connections",
        "[fetch] allow_private",
        "[fetch] max_bytes",
        "[site] colour",
        "[site] time_zone",
        "[site] url",
        "[smtp] port",
        "[smtp] tls",
        "unknown section [smpt]; one of site, database, smtp, relays, fetch, delivery, domains, dkim",
    ]
    assert all(problem.startswith(f"{path}: ") for problem in found)
    assert not any("\n" in problem for problem in found)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            '[site]\nurl = "news.example.org"',
            "[site] url: 'news.example.org' is not a site's address; write it as https://news.example.org",
        ),
        (
            '[site]\nurl = "https://[::1]:8000"',
            "[site] url: 'https://[::1]:8000': ids of articles are made from the host, so use a name",
        ),
        (
            '[site]\ntime_zone = "Europe/Berlon"',
            "[site] time_zone: unknown time zone 'Europe/Berlon'; use an IANA name such as Europe/Berlin",
        ),
        (
            '[site]\ntime_zone = "Europe"',
            "[site] time_zone: unknown time zone 'Europe'; use an IANA name such as Europe/Berlin",
        ),
        (
            '[site]\ntime_zone = ""',
            "[site] time_zone: unknown time zone ''; use an IANA name such as Europe/Berlin",
        ),
        (
            '[fetch]\nallow_private = ["intranet"]',
            "[fetch] allow_private: 'intranet' is not a network; write it as 10.1.0.0/16, not as a name",
        ),
        (
            '[smtp]\nhost = "relay.example.org"\ntls = "none"',
            (
                '[smtp] insecure: tls = "none" would send mail to relay.example.org in clear text; '
                "set true if you mean it"
            ),
        ),
        (
            '[smtp]\nusername = "u"',
            "[smtp] password_file: username is set and password is not; set password or password_file",
        ),
        (
            '[database]\nfile = "x"',
            "[database] file: unknown setting; one of url",
        ),
        (
            "title = 1",
            "unknown section [title]; one of site, database, smtp, relays, fetch, delivery, domains, dkim",
        ),
        (
            'folder = "/x"',
            "unknown section [folder]; one of site, database, smtp, relays, fetch, delivery, domains, dkim",
        ),
    ],
)
def test_a_mistake_names_the_value_and_the_way_out(write: Write, content: str, problem: str) -> None:
    path = write(content)

    assert problems(path) == (f"{path}: {problem}",)


@pytest.mark.parametrize(
    "content",
    [
        "smtp = 3",
        "[delivery]\nwindow = 0",
        "[delivery]\nlease_s = 0.5",
        "[fetch]\ndeadline_s = 0",
        "[fetch]\nmax_bytes = 67108865",
        "[smtp]\nport = 0",
    ],
)
def test_a_value_out_of_its_bounds_is_one_problem(write: Write, content: str) -> None:
    assert len(problems(write(content))) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_clear_text_is_allowed_on_this_machine_and_elsewhere_only_if_it_is_meant(
    write: Write, host: str
) -> None:
    assert load_settings(write(f'[smtp]\nhost = "{host}"\ntls = "none"')).smtp.tls == "none"
    meant = '[smtp]\nhost = "relay.example.org"\ntls = "none"\ninsecure = true'
    assert load_settings(write(meant)).smtp.insecure


def test_a_file_that_is_not_there_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert problems(None) == ("syndicate.toml: there is no such file; run 'syndicate init' to make one",)
    absent = tmp_path / "absent.toml"
    assert problems(absent) == (f"{absent}: there is no such file; check --config",)


def test_a_file_that_cannot_be_read_is_one_line(write: Write, tmp_path: Path) -> None:
    path = write("[site\n")
    (problem,) = problems(path)
    assert problem.startswith(f"{path}: not valid TOML: ")

    path.write_bytes(b'[site]\ntitle = "\xe9"')
    assert problems(path) == (f"{path}: cannot be read (not UTF-8)",)
    assert problems(tmp_path) == (f"{tmp_path}: cannot be read (Is a directory)",)


def test_the_file_of_the_working_folder_is_taken_by_default(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('[site]\ntitle = "Here"')
    monkeypatch.chdir(tmp_path)

    loaded = load_settings()

    assert (loaded.site.title, loaded.folder) == ("Here", tmp_path)


def test_the_environment_goes_before_the_file_key_by_key(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_SMTP__PORT", "2525")
    monkeypatch.setenv("SYNDICATE_SMTP__PASSWORD", PASSWORD)
    monkeypatch.setenv("SYNDICATE_FETCH__ALLOW_PRIVATE", '["10.0.0.0/8"]')
    monkeypatch.setenv("SYNDICATE_DELIVERY__WINDOW", "3")

    loaded = load_settings(write('[smtp]\nhost = "relay.example.org"\nport = 25\nusername = "u"'))

    assert (loaded.smtp.host, loaded.smtp.port, loaded.smtp.username) == ("relay.example.org", 2525, "u")
    assert loaded.relay_password("smtp") == PASSWORD
    assert loaded.fetch.allow_private == (ip_network("10.0.0.0/8"),)
    assert loaded.window_size == 3


def test_a_mistake_in_the_environment_names_the_variable(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_SMTP__PORT", "smtp")
    monkeypatch.setenv("SYNDICATE_SITE__COLOUR", "blue")
    path = write("[delivery]\nconnections = 0")

    found = problems(path)

    assert {problem.split(": ")[0] for problem in found} == {
        "SYNDICATE_SMTP__PORT",
        "SYNDICATE_SITE__COLOUR",
        str(path),
    }


@pytest.mark.parametrize("name", ["SYNDICATE_FETCH__ALLOW_PRIVATE", "SYNDICATE_FETCH"])
def test_a_variable_that_should_be_json_and_is_not_is_a_mistake_with_a_hint(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "10.0.0.0/8")

    (problem,) = problems(write(""))

    assert problem == f'{name}: not valid JSON; a list is written as ["one", "two"]'


SECTIONS = "one of site, database, smtp, relays, fetch, delivery, domains, dkim"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SYNDICATE_SMPT__HOST", f"unknown section [smpt]; {SECTIONS}"),
        ("SYNDICATE_SMTP_HOST", f"unknown section [smtp_host]; {SECTIONS}, and two underscores after it"),
        ("SYNDICATE_URL", f"unknown section [url]; {SECTIONS}, and two underscores after it"),
        # Paths are relative to the configuration file's folder, which nothing can move.
        ("SYNDICATE_FOLDER", f"unknown section [folder]; {SECTIONS}, and two underscores after it"),
    ],
)
def test_a_variable_that_sets_nothing_is_told_beside_every_other_mistake(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    monkeypatch.setenv(name, "x")

    assert problems(write("")) == (f"{name}: {told}",)
    assert f"{name}: {told}" in problems(write("[site]\ntitle = 3"))
    assert len(problems(write("[site]\ntitle = 3"))) == 2


def test_secrets_come_from_files_of_their_own_relative_to_the_configuration(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", "utf-8")
    (tmp_path / "password").write_text(f"  {PASSWORD}\r\n", "utf-8")

    loaded = load_settings(
        write('[site]\nsecret_file = "secret"\n[smtp]\nusername = "u"\npassword_file = "password"')
    )

    assert (loaded.secret, loaded.relay_password("smtp")) == (SECRET.encode(), PASSWORD)


def test_a_secret_that_is_given_goes_before_its_file(write: Write) -> None:
    loaded = load_settings(
        write(
            f'[site]\nsecret = "{SECRET}"\nsecret_file = "absent"\n'
            f'[smtp]\npassword = "{PASSWORD}"\npassword_file = "absent"'
        )
    )

    assert (loaded.secret, loaded.relay_password("smtp")) == (SECRET.encode(), PASSWORD)


def test_a_secret_that_is_missing_or_too_short_or_unreadable_is_refused_when_it_is_needed(
    write: Write, tmp_path: Path
) -> None:
    def refusal(content: str) -> str:
        loaded = load_settings(write(content))
        with pytest.raises(ConfigurationError) as caught:
            _ = loaded.secret
        return str(caught.value)

    (tmp_path / "short").write_text("s3cr3t-but-short", "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff" * 40)
    assert "'syndicate init' makes one" in refusal("")
    assert refusal('[site]\nsecret_file = "absent"') == (
        f"[site] secret_file: {tmp_path}/absent cannot be read (No such file or directory)"
    )
    assert refusal('[site]\nsecret_file = "short"') == (
        "[site] secret_file: too short; use at least 32 characters"
    )
    assert refusal('[site]\nsecret_file = "binary"') == (
        f"[site] secret_file: {tmp_path}/binary cannot be read (not UTF-8)"
    )


def test_a_secret_in_the_file_that_is_too_short_is_a_mistake_that_does_not_show_it(write: Write) -> None:
    path = write('[site]\nsecret = "canary"')

    assert problems(path) == (f"{path}: [site] secret: too short; use at least 32 characters",)


def test_a_password_file_that_cannot_be_read_is_one_line(write: Write, tmp_path: Path) -> None:
    loaded = load_settings(write('[smtp]\nusername = "u"\npassword_file = "absent"'))

    with pytest.raises(ConfigurationError) as caught:
        _ = loaded.relay_password("smtp")

    assert str(caught.value) == (
        f"[smtp] password_file: {tmp_path}/absent cannot be read (No such file or directory)"
    )


def test_secrets_are_in_no_text_that_is_made_of_the_settings(write: Write) -> None:
    loaded = load_settings(
        write(
            f'[site]\nsecret = "{SECRET}"\n[smtp]\nusername = "u"\npassword = "{PASSWORD}"\n'
            f'[database]\nurl = "postgresql://reader:{PASSWORD}@host/name"'
        )
    )
    assert loaded.secret
    assert loaded.relay_password("smtp")

    for text in (repr(loaded), str(loaded), f"{loaded.smtp!r} {loaded.site} {loaded.database!r}"):
        assert "canary" not in text


def test_secrets_are_in_no_problem(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNDICATE_SITE__SECRET", "canary-short")
    path = write(
        f"""
        secret = "{SECRET}"
        [smtp]
        pasword = "{PASSWORD}"
        password = ["{PASSWORD}"]
        [database]
        url = ["postgresql://reader:{PASSWORD}@host/name"]
        """
    )

    found = problems(path)

    assert len(found) == 5
    assert "canary" not in "\n".join(found)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///syndicate.db", "sqlite:///{folder}/syndicate.db"),
        ("sqlite:///data/syndicate.db", "sqlite:///{folder}/data/syndicate.db"),
        ("sqlite:////srv/syndicate.db", "sqlite:////srv/syndicate.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("postgresql://user@host/name", "postgresql://user@host/name"),
    ],
)
def test_a_relative_sqlite_file_is_in_the_folder_of_the_configuration(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    path = write(f'[database]\nurl = "{url}"')
    monkeypatch.chdir("/")

    assert load_settings(path).database_url == expected.format(folder=tmp_path)


def test_a_relative_path_of_the_configuration_becomes_an_absolute_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("")
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(Path("syndicate.toml"))
    monkeypatch.chdir("/")

    assert loaded.database_url == f"sqlite:///{tmp_path}/syndicate.db"


RELAYS = """
    [relays.first]
    host = "one.example.org"
    connections = 3
    rate_s = 5.5
    per_day = 10_000
    weight = 2
    messages_per_connection = 100
    warm_up_from = 2026-12-01
    warm_up_start = 50

    [relays.mail-dir]
    transport = "maildir"
    path = "mail"

    [relays.local]
    transport = "sendmail"

    [delivery]
    connections = 4
    rate_s = 2.0
"""


def test_the_relay_of_smtp_is_used_where_no_other_is_named(write: Write) -> None:
    for content in ("", '[smtp]\nhost = "relay.example.org"'):
        loaded = load_settings(write(content))
        (name,) = loaded.all_relays
        assert name == "smtp"
        assert loaded.all_relays["smtp"].host == loaded.smtp.host
        assert loaded.window_size == 8


def test_named_relays_are_used_in_their_order_and_that_of_smtp_only_if_it_is_set(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(load_settings(write(RELAYS)).all_relays) == ["first", "mail-dir", "local"]
    with_smtp = load_settings(write(f'{RELAYS}\n[smtp]\nhost = "zero.example.org"'))
    assert list(with_smtp.all_relays) == ["smtp", "first", "mail-dir", "local"]
    monkeypatch.setenv("SYNDICATE_SMTP__HOST", "zero.example.org")
    assert list(load_settings(write(RELAYS)).all_relays) == ["smtp", "first", "mail-dir", "local"]


def test_what_a_relay_leaves_open_is_as_delivery_says(write: Write) -> None:
    relays = load_settings(write(RELAYS)).all_relays

    assert [(one.connections, one.rate_s) for one in relays.values()] == [(3, 5.5), (4, 2.0), (4, 2.0)]
    first = relays["first"]
    assert (first.per_day, first.weight, first.messages_per_connection) == (10_000, 2, 100)
    assert (first.warm_up_from, first.warm_up_start, first.warm_up_growth) == (date(2026, 12, 1), 50, 1.5)
    assert (relays["mail-dir"].path, relays["local"].path) == (Path("mail"), Path("/usr/sbin/sendmail"))
    assert load_settings(write("[relays.x]\nrate_s = 1")).all_relays["x"].transport == "smtp"


def test_the_window_is_by_default_as_large_as_the_connections_of_all_relays_together(write: Write) -> None:
    assert load_settings(write(RELAYS)).window_size == 3 + 4 + 4
    assert load_settings(write(f"{RELAYS}\nwindow = 2")).window_size == 2


def test_a_setting_that_was_replaced_counts_for_every_relay(write: Write) -> None:
    loaded = load_settings(write(""))
    assert loaded.all_relays["smtp"].port == 587

    changed = loaded.model_copy(update={"smtp": loaded.smtp.model_copy(update={"port": 9})})

    assert changed.all_relays["smtp"].port == 9


def test_a_relay_of_the_environment_stands_beside_those_of_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_RELAYS__LOCAL__PATH", "/opt/sendmail")
    monkeypatch.setenv("SYNDICATE_RELAYS__BACK_UP__PORT", "2525")
    monkeypatch.setenv("SYNDICATE_RELAYS__BACK_UP__WARM_UP_FROM", "2026-12-24")
    monkeypatch.setenv("SYNDICATE_RELAYS__BACK_UP__WARM_UP_START", "9")
    monkeypatch.setenv("SYNDICATE_DOMAINS", '{"gmail.com": {"connections": 2}}')

    loaded = load_settings(write(RELAYS))

    assert sorted(loaded.all_relays) == ["back_up", "first", "local", "mail-dir"]
    assert loaded.all_relays["back_up"].port == 2525
    assert loaded.all_relays["back_up"].warm_up_from == date(2026, 12, 24)
    assert loaded.all_relays["local"].path == Path("/opt/sendmail")
    assert loaded.domains["gmail.com"].connections == 2


def test_a_mistake_in_a_named_section_of_the_environment_names_the_variable(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNDICATE_RELAYS__BACKUP__PORT", "smtp")
    monkeypatch.setenv("SYNDICATE_RELAYS__BACKUP__PASWORD", PASSWORD)

    found = problems(write(""))

    assert {problem.split(": ")[0] for problem in found} == {
        "SYNDICATE_RELAYS__BACKUP__PORT",
        "SYNDICATE_RELAYS__BACKUP__PASWORD",
    }
    assert "canary" not in "\n".join(found)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[relays.backup]\nport = 0", "[relays.backup] port: Input should be greater than or equal to 1"),
        (
            "[relays.smtp]\nport = 25",
            "[relays.smtp]: the relay of this name is described in [smtp]",
        ),
        (
            "[relays.Back-Up]\nport = 25",
            "[relays.Back-Up]: 'Back-Up' cannot name a relay; use small letters, digits and single hyphens",
        ),
        (
            '[relays]\nhost = "relay.example.org"',
            "[relays.host]: not a section; write [relays.NAME] in a line of its own, its settings below",
        ),
        ("smtp = 3", "[smtp]: not a section; write [smtp] in a line of its own, its settings below"),
        (
            '[relays.x]\nhost = "relay.example.org"\ntls = "none"',
            (
                '[relays.x] insecure: tls = "none" would send mail to relay.example.org in clear text; '
                "set true if you mean it"
            ),
        ),
        (
            '[smtp]\nauth = "xoauth2"',
            '[smtp] auth: "xoauth2" needs username: the account that the token is for',
        ),
        (
            '[relays.x]\ntransport = "maildir"',
            '[relays.x] path: missing; transport = "maildir" puts mail into this folder',
        ),
        ('[smtp]\npath = "mail"', '[smtp] path: is of transport = "maildir" or "sendmail" only'),
        (
            "[smtp]\nwarm_up_from = 2026-12-01",
            "[smtp] warm_up_start: missing; set it to the first day's number of messages",
        ),
        (
            "[smtp]\nwarm_up_start = 50",
            "[smtp] warm_up_start: is set and warm_up_from is not; set warm_up_from to the first day",
        ),
        (
            '[domains."Gmail.com"]\nconnections = 2',
            (
                "[domains.\"Gmail.com\"]: 'Gmail.com' is not a domain in its ASCII form; "
                "use small letters, and xn-- names for other scripts"
            ),
        ),
        (
            "[domains.gmail.com]\nconnections = 2",
            (
                "[domains.gmail] com: unknown setting; one of connections, rate_s; "
                'a domain is written in quotes: [domains."gmail.com"]'
            ),
        ),
        (
            '[dkim]\nkey_file = "dkim.pem"',
            "[dkim] key_file: is set and selector is not; the two belong together",
        ),
        (
            '[dkim]\ned25519_selector = "e1"',
            "[dkim] ed25519_key_file: ed25519_selector is set and this is not; the two belong together",
        ),
    ],
)
def test_a_mistake_in_relays_domains_and_keys_names_the_value_and_the_way_out(
    write: Write, content: str, problem: str
) -> None:
    path = write(content)

    assert problems(path) == (f"{path}: {problem}",)


def test_mistakes_of_several_relays_are_listed_at_once(write: Write) -> None:
    path = write("[relays.a]\nport = 0\nweight = 0\n[relays.b]\ncolour = 1\n[domains.x]\nrate_s = -1")

    places = [problem.removeprefix(f"{path}: ").split(": ")[0] for problem in problems(path)]

    assert places == ["[relays.a] port", "[relays.a] weight", "[relays.b] colour", "[domains.x] rate_s"]


def test_the_password_of_each_relay_comes_from_its_own_file_each_time_anew(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("one\n", "utf-8")
    loaded = load_settings(
        write(
            f'[smtp]\nusername = "u"\npassword = "{PASSWORD}"\n'
            '[relays.x]\nusername = "u"\nauth = "xoauth2"\npassword_file = "token"\n'
            "[relays.y]\n"
        )
    )
    assert [loaded.relay_password(name) for name in loaded.all_relays] == [PASSWORD, "one", ""]

    (tmp_path / "token").write_text("two\n", "utf-8")
    assert loaded.relay_password("x") == "two"
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigurationError) as caught:
        loaded.relay_password("x")
    assert str(caught.value) == (
        f"[relays.x] password_file: {tmp_path}/token cannot be read (No such file or directory)"
    )


def test_settings_cannot_be_changed(write: Write) -> None:
    loaded = load_settings(write(""))

    with pytest.raises(ValueError, match="frozen"):
        loaded.site.title = "Other"  # type: ignore[misc]  # that is what the test is about
    with pytest.raises(ValueError, match="frozen"):
        loaded.folder = Path("/")  # type: ignore[misc]  # the same


def test_own_templates_go_before_those_that_come_with_the_program(write: Write, tmp_path: Path) -> None:
    (shipped,) = template_folders()
    assert (shipped / "email").is_dir()
    assert (shipped / "web").is_dir()

    assert template_folders(load_settings(write(""))) == (shipped,)
    own = load_settings(write('[site]\ntemplates = "mine"'))
    assert template_folders(own) == (tmp_path / "mine", shipped)


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        # A section that is written once for each relay or domain is a dict of them.
        section = get_args(field.annotation)[-1] if name in {"relays", "domains"} else field.annotation
        if name != "folder":
            assert section.model_fields, name
            assert all(one.description for one in section.model_fields.values()), name
