"""Use cases around DKIM: the signer that the settings ask for, making a key, telling what DNS has to say.

Sends nothing and asks no DNS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from syndicate.deliver.dkim import DkimKey, DkimSigner
from syndicate.deliver.dkim_keys import (
    DnsRecord,
    KeyKind,
    dns_record,
    make_private_key,
    private_pem,
    read_key,
)
from syndicate.errors import ConfigurationError, UsageError
from syndicate.settings import Settings

__all__ = ["DkimKeyFile", "generate_key", "list_keys", "load_signer"]

#: RFC 8301 section 3.2; longer ones take receivers and senders more time than they are worth.
_RSA_BITS: Final = 2048
_FIRST_LETTER: Final = {KeyKind.RSA: "s", KeyKind.ED25519: "e"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKeyFile:
    """A key in its file, and what has to be published of it."""

    domain: str
    selector: str
    algorithm: str  #: ``rsa-sha256`` or ``ed25519-sha256``
    file: Path
    record: DnsRecord
    settings: Mapping[str, str]  #: what [dkim] has to have for it


def load_signer(settings: Settings) -> DkimSigner | None:
    """What signs mail by the section [dkim], or None if that names no key: then the relay signs, or nobody.

    Raises ConfigurationError for a section that is not complete, and for a key file that cannot be used.
    """
    keys = tuple(key for _, key in _configured(settings))
    return DkimSigner(keys=keys, canonicalization=settings.dkim.canonicalization) if keys else None


def list_keys(settings: Settings) -> tuple[DkimKeyFile, ...]:
    """The keys that mail is signed with; raises ConfigurationError as ``load_signer``, and for none."""
    configured = _configured(settings)
    if not configured:
        raise ConfigurationError(
            ["[dkim] names no key; 'syndicate dkim generate --domain example.org' makes one"]
        )
    return tuple(_described(settings, path, key) for path, key in configured)


def generate_key(
    settings: Settings,
    kind: KeyKind,
    *,
    domain: str | None,
    selector: str | None,
    file: Path | None,
    bits: int | None,
    now: datetime,
) -> DkimKeyFile:
    """Makes a key and writes it to a new file that nobody else can read.

    What is left out: the domain is that of [dkim], the selector carries the date, the file lies beside the
    configuration, an RSA key has 2048 bits. Raises UsageError if there is no domain, or if the file exists
    or cannot be written, and ConfigurationError for a domain or selector that is no DNS name.
    """
    domain = domain or settings.dkim.domain
    if not domain:
        raise UsageError("say for which domain: --domain example.org, what stands after the @ of From")
    selector = selector or f"{_FIRST_LETTER[kind]}{now:%Y%m%d}"
    if bits is not None and kind is KeyKind.ED25519:
        raise UsageError("an Ed25519 key has always 256 bits: leave --bits or --ed25519 out")
    key = DkimKey(
        domain=domain, selector=selector, private_key=make_private_key(kind, bits=bits or _RSA_BITS)
    )
    path = (file or settings.folder / f"dkim-{selector}.pem").absolute()
    _write(path, private_pem(key))
    return _described(settings, path, key)


def _configured(settings: Settings) -> list[tuple[Path, DkimKey]]:
    """Each key that [dkim] names, with its file, the RSA key first."""
    dkim = settings.dkim
    if missing := _missing(settings):
        raise ConfigurationError(
            [
                f"[dkim] {name}: missing; 'syndicate dkim generate' tells what to write there"
                for name in missing
            ]
        )
    named = (
        (KeyKind.RSA, "key_file", dkim.selector, dkim.key_file),
        (KeyKind.ED25519, "ed25519_key_file", dkim.ed25519_selector, dkim.ed25519_key_file),
    )
    found = []
    for kind, setting, selector, key_file in named:
        if key_file is not None:
            path = settings.folder / key_file
            key = read_key(path, kind, domain=dkim.domain, selector=selector, place=f"[dkim] {setting}")
            found.append((path, key))
    return found


def _missing(settings: Settings) -> list[str]:
    """What [dkim] lacks: all of an RSA key or nothing at all, and an Ed25519 key only besides one."""
    dkim = settings.dkim
    needed = {"domain": dkim.domain, "selector": dkim.selector, "key_file": dkim.key_file}
    is_begun = any(needed.values()) or dkim.ed25519_key_file is not None
    return [name for name, value in needed.items() if is_begun and not value]


def _described(settings: Settings, path: Path, key: DkimKey) -> DkimKeyFile:
    prefix = "ed25519_" if key.algorithm == "ed25519-sha256" else ""
    key_file = path.relative_to(settings.folder) if path.is_relative_to(settings.folder) else path
    return DkimKeyFile(
        domain=key.domain,
        selector=key.selector,
        algorithm=key.algorithm,
        file=path,
        record=dns_record(key),
        settings={
            "domain": key.domain,
            f"{prefix}selector": key.selector,
            f"{prefix}key_file": str(key_file),
        },
    )


def _write(path: Path, pem: bytes) -> None:
    try:
        # Created with its mode, so that it is never readable by others, not even for a moment.
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(pem)
    except FileExistsError:
        raise UsageError(
            f"{path} exists already; name another --selector, or another file with --out"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
