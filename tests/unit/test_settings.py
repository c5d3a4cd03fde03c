from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

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
    assert (loaded.delivery.connections, loaded.delivery.window_size) == (8, 8)
    assert loaded.folder == tmp_path
    assert loaded.smtp_password == ""


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
    assert (loaded.smtp.port, loaded.smtp.tls, loaded.smtp_password) == (465, "implicit", "p")
    assert loaded.fetch.allow_private == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert (loaded.delivery.window_size, loaded.delivery.rate_s) == (20, 2.5)


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
        "unknown section [smpt]; one of site, database, smtp, fetch, delivery",
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
        ("title = 1", "unknown section [title]; one of site, database, smtp, fetch, delivery"),
        ('folder = "/x"', "unknown section [folder]; one of site, database, smtp, fetch, delivery"),
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
    assert loaded.smtp_password == PASSWORD
    assert loaded.fetch.allow_private == (ip_network("10.0.0.0/8"),)
    assert loaded.delivery.window_size == 3


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


SECTIONS = "one of site, database, smtp, fetch, delivery"


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

    assert (loaded.secret, loaded.smtp_password) == (SECRET.encode(), PASSWORD)


def test_a_secret_that_is_given_goes_before_its_file(write: Write) -> None:
    loaded = load_settings(
        write(
            f'[site]\nsecret = "{SECRET}"\nsecret_file = "absent"\n'
            f'[smtp]\npassword = "{PASSWORD}"\npassword_file = "absent"'
        )
    )

    assert (loaded.secret, loaded.smtp_password) == (SECRET.encode(), PASSWORD)


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
        _ = loaded.smtp_password

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
    assert loaded.smtp_password

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
        section = field.annotation
        assert section is not None
        if name != "folder":
            assert all(one.description for one in section.model_fields.values()), name
