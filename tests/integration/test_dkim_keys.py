"""Keys for signing: made, read, refused, and told as DNS records, by the program and by its use cases."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from syndicate.deliver.dkim_keys import DnsRecord
from syndicate.errors import ConfigurationError
from syndicate.service.signing import load_signer
from syndicate.settings import load_settings
from tests.cli_runner import Program, kept_logs
from tests.dkim_oracle import DATA, RSA, judge

AT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
MESSAGE = (
    b"From: letters@example.org\r\nTo: ann@example.com\r\nSubject: Of tides\r\n\r\nThey come and go.\r\n"
)
SECTION = '[dkim]\ndomain = "example.org"\nselector = "s1"\nkey_file = "one.pem"\n'
SECOND = 'ed25519_selector = "e1"\ned25519_key_file = "two.pem"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "syndicate.toml"
    path.write_text('[site]\ntitle = "News"\n', "utf-8")
    return path


@pytest.fixture
def program(config: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    with kept_logs():
        yield Program(config.parent, capsys)


def write_key(path: Path, pem: bytes, mode: int = 0o600) -> None:
    path.write_bytes(pem)
    path.chmod(mode)


def pem_of(name: str) -> bytes:
    return (DATA / f"dkim-{name}.pem").read_bytes()


def signed(config: Path) -> bytes:
    signer = load_signer(load_settings(config))
    assert signer is not None
    return signer.sign_message(MESSAGE, domain="example.org", signed_at=AT) + MESSAGE


def problems_of(config: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_signer(load_settings(config))
    return caught.value.problems


def record_of(shown: dict[str, Any]) -> DnsRecord:
    values = shown["record"]
    return DnsRecord(name=values["name"], value=values["value"], strings=tuple(values["strings"]))


def test_from_a_new_key_to_signed_mail(program: Program, config: Path) -> None:
    made = program.done("dkim", "generate", "--domain", "example.org").out
    [file] = config.parent.glob("dkim-*.pem")
    assert re.fullmatch(r"dkim-s20\d{6}\.pem", file.name)
    assert file.stat().st_mode & 0o777 == 0o600
    assert str(file) in made
    assert "PRIVATE KEY" not in made
    lines = re.findall(r"^  (\[dkim\]|\w+ = .+)$", made, re.MULTILINE)
    assert tomllib.loads("\n".join(lines)) == {
        "dkim": {"domain": "example.org", "selector": file.stem.removeprefix("dkim-"), "key_file": file.name}
    }
    config.write_text("\n".join(lines) + "\n", "utf-8")

    shown = program.done("dkim", "show").out
    name, strings = re.search(r"name   (\S+)$", shown, re.MULTILINE), re.findall(r'"(.+)"', shown)
    assert name is not None
    assert all(string in made for string in (name[1], *strings))
    published = DnsRecord(name=name[1], value="".join(strings), strings=tuple(strings))
    assert judge(signed(config), [published]) == [True]


def test_a_second_key_gives_a_second_signature(program: Program, config: Path) -> None:
    first = program.done("dkim", "generate", "--domain", "example.org", "--json").json
    second = program.done("dkim", "generate", "--domain", "example.org", "--ed25519", "--json").json
    assert (first["algorithm"], second["algorithm"]) == ("rsa-sha256", "ed25519-sha256")
    settings = first["settings"] | second["settings"]
    config.write_text("[dkim]\n" + "".join(f'{k} = "{v}"\n' for k, v in settings.items()), "utf-8")
    shown = program.done("dkim", "show", "--json").json
    assert shown == [first, second]
    assert judge(signed(config), map(record_of, shown)) == [True, True]
    assert program.done("dkim", "show").out.count("_domainkey.example.org") == 2


@pytest.mark.parametrize(("options", "pieces"), [((), 2), (("--bits", "4096"), 3), (("--ed25519",), 1)])
def test_a_record_is_told_in_strings_that_dns_can_hold(
    program: Program, options: tuple[str, ...], pieces: int
) -> None:
    made = program.done("dkim", "generate", "--domain", "example.org", "--selector", "s1", *options, "--json")
    record = record_of(made.json)
    assert record.name == "s1._domainkey.example.org"
    assert len(record.strings) == pieces
    assert max(map(len, record.strings)) <= 255
    assert "".join(record.strings) == record.value


def test_a_key_that_is_there_is_never_written_over(program: Program, config: Path) -> None:
    args = ("dkim", "generate", "--domain", "example.org", "--selector", "s1", "--out", "mine.pem")
    program.done(*args)
    before = (config.parent / "mine.pem").read_bytes()
    refused = program(*args)
    assert refused.code == 2
    assert "mine.pem exists already" in refused.err
    assert (config.parent / "mine.pem").read_bytes() == before


def test_the_domain_of_the_settings_is_taken_where_none_is_named(program: Program, config: Path) -> None:
    write_key(config.parent / "one.pem", pem_of("rsa"))
    config.write_text(SECTION, "utf-8")
    made = program.done("dkim", "generate", "--selector", "s2", "--json").json
    assert made["record"]["name"] == "s2._domainkey.example.org"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("show", ["names no key", "syndicate dkim generate"]),
        ("generate", ["--domain example.org"]),
        ("generate --domain example.org --ed25519 --bits 2048", ["--bits", "--ed25519"]),
        ("generate --domain example.org --bits 512", ["--bits", "1024"]),
        ("generate --domain ../x", ["domain", "../x"]),
        ("generate --domain example.org --selector ../x", ["selector", "../x"]),
        ("generate --domain example.org --out nowhere/x.pem", ["nowhere/x.pem", "cannot be written"]),
        ("generate --domain example.org --out syndicate.toml", ["syndicate.toml", "exists already"]),
        ("generate --domain example.org --out syndicate.toml/x", ["cannot be written"]),
    ],
)
def test_a_mistake_makes_no_key(program: Program, config: Path, args: str, words: list[str]) -> None:
    result = program("dkim", *args.split())
    assert (result.code, result.out) == (2, "")
    [line] = [line for line in result.err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert all(word in line for word in words), line
    assert [path.name for path in config.parent.iterdir()] == [config.name]


def test_without_a_section_nothing_is_signed(config: Path) -> None:
    assert load_signer(load_settings(config)) is None


def test_keys_of_other_programs_are_taken_in_both_forms(config: Path) -> None:
    config.write_text(SECTION.replace("s1", RSA.selector), "utf-8")
    for form in (serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8):
        pem = RSA.private_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        write_key(config.parent / "one.pem", pem)
        assert judge(signed(config)) == [True]


def other_pems() -> dict[str, bytes]:
    curve = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return {
        "empty": b"",
        "noise": bytes(range(256)),
        "certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "public": RSA.private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "secret": RSA.private_key.private_bytes(*form, serialization.BestAvailableEncryption(b"word")),
        "curve": curve.private_bytes(*form, serialization.NoEncryption()),
        "other": pem_of("ed25519"),
        "short": pem_of("rsa-768"),
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "holds no private key in PEM form"),
        ("noise", "holds no private key in PEM form"),
        ("certificate", "holds no private key in PEM form"),
        ("public", "holds no private key in PEM form"),
        ("secret", "has a passphrase"),
        ("curve", "holds no RSA key"),
        ("other", "holds no RSA key"),
        ("short", "holds a key of 768 bits"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_what_to_do(
    config: Path, name: str, words: str
) -> None:
    config.write_text(SECTION, "utf-8")
    path = config.parent / "one.pem"
    write_key(path, other_pems()[name])
    [problem] = problems_of(config)
    assert problem.startswith(f"[dkim] key_file: {path} {words}")
    assert ";" in problem
    assert "\n" not in problem


def test_an_rsa_key_is_no_ed25519_key(config: Path) -> None:
    config.write_text(SECTION + SECOND, "utf-8")
    for name in ("one.pem", "two.pem"):
        write_key(config.parent / name, pem_of("rsa"))
    [problem] = problems_of(config)
    assert problem.startswith(f"[dkim] ed25519_key_file: {config.parent / 'two.pem'} holds no Ed25519 key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o610])
def test_a_key_that_is_open_to_others_is_refused(config: Path, mode: int) -> None:
    config.write_text(SECTION, "utf-8")
    path = config.parent / "one.pem"
    write_key(path, pem_of("rsa"), mode)
    assert problems_of(config) == (
        f"[dkim] key_file: {path} is open to others (mode {mode:04o}); run 'chmod 600 {path}'",
    )
    path.chmod(0o400)
    assert load_signer(load_settings(config)) is not None


def test_a_file_that_cannot_be_read_is_named(config: Path) -> None:
    config.write_text(SECTION, "utf-8")
    path = config.parent / "one.pem"
    [missing] = problems_of(config)
    assert missing.startswith(f"[dkim] key_file: {path} cannot be read (No such file")
    path.mkdir()
    [folder] = problems_of(config)
    assert folder.startswith(f"[dkim] key_file: {path} cannot be read (Is a directory")


@pytest.mark.parametrize("line", (SECTION + SECOND).splitlines()[1:])
def test_a_section_that_is_not_complete_tells_what_is_missing(config: Path, line: str) -> None:
    config.write_text((SECTION + SECOND).replace(line + "\n", ""), "utf-8")
    [problem] = problems_of(config)
    assert re.search(rf"\[dkim\].* \b{line.partition(' ')[0]}\b", problem)


@pytest.mark.parametrize(
    "section", ['[dkim]\ndomain = "example.org"\n', f'[dkim]\ndomain = "example.org"\n{SECOND}']
)
def test_an_rsa_key_is_needed_whatever_else_there_is(config: Path, section: str) -> None:
    config.write_text(section, "utf-8")
    missing = [problem.partition(": ")[0] for problem in problems_of(config)]
    assert missing == ["[dkim] selector", "[dkim] key_file"]
