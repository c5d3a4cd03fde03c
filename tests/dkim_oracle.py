"""DKIM as a receiver sees it: dkimpy judges what we sign, with keys that were made for tests.

For Ed25519 dkimpy wants PyNaCl; the arithmetic of the curve comes from cryptography instead, everything
else (which headers, which form, which hashes) is dkimpy's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from syndicate.deliver.dkim import DkimKey
from syndicate.deliver.dkim_keys import DnsRecord, dns_record

__all__ = ["DATA", "ED25519", "RSA", "judge"]

DATA = Path(__file__).resolve().parent / "data"


class _VerifyKey:
    def __init__(self, text: bytes, encoder: Any) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(encoder.decode(text))

    def verify(self, digest: bytes, signature: bytes) -> None:
        self._key.verify(signature, digest)


dkim.nacl = SimpleNamespace(
    signing=SimpleNamespace(VerifyKey=_VerifyKey),
    encoding=SimpleNamespace(Base64Encoder=SimpleNamespace(decode=dkim.base64.b64decode)),
    exceptions=SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
)


def _key(name: str) -> DkimKey:
    private_key: Any = load_pem_private_key((DATA / f"dkim-{name}.pem").read_bytes(), password=None)
    return DkimKey(domain="example.org", selector=f"{name}-1", private_key=private_key)


RSA = _key("rsa")
ED25519 = _key("ed25519")
_PUBLISHED = tuple(dns_record(key) for key in (RSA, ED25519))


def judge(message: bytes, published: Iterable[DnsRecord] = _PUBLISHED) -> list[bool]:
    """Whether each signature of the message holds, from the topmost down; empty if it has none."""
    values = {f"{record.name}.".encode(): record.value.encode() for record in published}
    count = sum(1 for name, _ in dkim.DKIM(message).headers if name.lower() == b"dkim-signature")
    return [_holds(dkim.DKIM(message), n, values) for n in range(count)]


def _holds(message: Any, number: int, values: Mapping[bytes, bytes]) -> bool:
    try:
        return bool(message.verify(idx=number, dnsfunc=lambda name, timeout: values[name]))  # noqa: ARG005 - dkimpy's signature
    except dkim.ValidationError:
        return False
