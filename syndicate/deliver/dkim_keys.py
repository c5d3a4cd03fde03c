"""DKIM keys: made, read from their files, and told as the DNS record that publishes them.

Writes no file and asks no DNS; what is published is not compared with what is configured.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from syndicate.deliver.dkim import DkimKey, PrivateKey
from syndicate.errors import ConfigurationError

__all__ = ["DnsRecord", "KeyKind", "dns_record", "make_private_key", "private_pem", "read_key"]

_LEAST_BITS: Final = 1024  # RFC 8301 section 3.2
_STRING_BYTES: Final = 255  # one string of a TXT record, RFC 1035 section 3.3
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAKE: Final = "'syndicate dkim generate' makes one"


class KeyKind(StrEnum):
    """What a key is for, as the tag ``k=`` of its record says it."""

    RSA = "rsa"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """A TXT record."""

    name: str  #: without a dot at its end
    value: str
    strings: tuple[str, ...]  #: the value in pieces of at most 255 octets, as a zone file has them


def make_private_key(kind: KeyKind, *, bits: int) -> PrivateKey:
    """A new private key; ``bits``, 1024 or more, is the size of an RSA key."""
    if kind is KeyKind.ED25519:
        return Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_pem(key: DkimKey) -> bytes:
    """The private key as ``read_key`` takes it: PEM, PKCS#8, without a passphrase."""
    return key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_key(path: Path, kind: KeyKind, *, domain: str, selector: str, place: str) -> DkimKey:
    """The key of a PEM file (PKCS#8 or PKCS#1); ``place`` is the setting that names the file.

    Raises ConfigurationError for a file that cannot be read or that others can, for anything but one
    private key of this kind without a passphrase, for an RSA key of less than 1024 bits, and as ``DkimKey``
    does.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read()
    except OSError as error:
        raise _mistake(place, path, f"cannot be read ({error.strerror}); {_MAKE}") from None
    if mode & _OF_OTHERS:
        raise _mistake(place, path, f"is open to others (mode {mode:04o}); run 'chmod 600 {path}'")
    private_key = _private_key(pem, kind, place, path)
    return DkimKey(domain=domain, selector=selector, private_key=private_key)


def dns_record(key: DkimKey) -> DnsRecord:
    """The TXT record that publishes a key (RFC 6376 section 3.6.1; for Ed25519 RFC 8463 section 4)."""
    private_key = key.private_key
    if isinstance(private_key, RSAPrivateKey):
        kind = KeyKind.RSA
        data = private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        kind = KeyKind.ED25519
        data = private_key.public_key().public_bytes_raw()
    value = f"v=DKIM1; k={kind}; p={base64.b64encode(data).decode('ascii')}"
    return DnsRecord(
        name=f"{key.selector}._domainkey.{key.domain}",
        value=value,
        strings=tuple(value[at : at + _STRING_BYTES] for at in range(0, len(value), _STRING_BYTES)),
    )


def _private_key(pem: bytes, kind: KeyKind, place: str, path: Path) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise _mistake(place, path, "has a passphrase; keep the key without one, with mode 0600") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _mistake(place, path, f"holds no private key in PEM form; {_MAKE}") from None
    if kind is KeyKind.ED25519:
        if not isinstance(key, Ed25519PrivateKey):
            raise _mistake(place, path, "holds no Ed25519 key; 'syndicate dkim generate --ed25519' makes one")
        return key
    if not isinstance(key, RSAPrivateKey):
        raise _mistake(place, path, f"holds no RSA key; {_MAKE}")
    if key.key_size < _LEAST_BITS:
        raise _mistake(
            place, path, f"holds a key of {key.key_size} bits, receivers want {_LEAST_BITS}; {_MAKE} of 2048"
        )
    return key


def _mistake(place: str, path: Path, detail: str) -> ConfigurationError:
    return ConfigurationError([f"{place}: {path} {detail}"])
