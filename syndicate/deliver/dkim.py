"""DKIM signatures over messages whose bodies are canonical by construction (RFC 6376, RFC 8463).

What the readers of a variant share is brought into its relaxed form and hashed once; a reader costs the own
header lines, the rest of the body and the signature itself. Reads no file, asks no DNS, repairs no message.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from syndicate.errors import ConfigurationError, OperationError

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Canonicalization", "DkimKey", "DkimSigner", "PreparedSignature", "PrivateKey"]

Canonicalization = Literal["relaxed/simple", "relaxed/relaxed"]
PrivateKey = RSAPrivateKey | Ed25519PrivateKey

#: Listed once more than they occur: nobody can add another one (RFC 6376 section 8.15).
_OVERSIGNED: Final = (
    b"from", b"to", b"subject", b"date", b"reply-to", b"message-id", b"content-type", b"list-unsubscribe",
    b"list-unsubscribe-post",
)  # fmt: skip
#: Signed where they are present (RFC 6376 section 5.4.1; RFC 8058 section 4 wants the two of unsubscribing).
_SIGNED: Final = frozenset(_OVERSIGNED) | {
    b"mime-version", b"list-id", b"list-help", b"list-owner", b"list-post", b"list-archive", b"feedback-id",
    b"precedence", b"auto-submitted",
}  # fmt: skip
#: Lines of header fields and nothing else: a bare CR or LF, a NUL or an empty line would end the head early.
#: Only the reader's address may have letters beyond ASCII (RFC 8616 section 3, RFC 6532).
_HEAD: Final = re.compile(rb"(?:To:[\t -~\x80-\xff]*\r\n|[!-9;-~]+:[\t -~]*\r\n(?:[\t ][\t -~]*\r\n)*)*")
_DNS_NAME: Final = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.(?=.)|$))+")
_WIDTH: Final = 75  # with the blank before it a line stays below 78 (RFC 5322 section 2.1.1)
_KEPT_LAYOUTS: Final = 256
_PADDING: Final = PKCS1v15()
_PREHASHED: Final = Prehashed(SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """One private key and the place in DNS of its public half: ``selector._domainkey.domain``.

    Raises ConfigurationError for a domain or selector that is no DNS name in ASCII.
    """

    domain: str
    selector: str
    private_key: PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("domain", self.domain), ("selector", self.selector)):
            if not _DNS_NAME.fullmatch(value):
                raise ConfigurationError(
                    [f"[dkim] {name}: {value!r} is not a DNS name; write it as example.org, in ASCII"]
                )

    @property
    def algorithm(self) -> Literal["rsa-sha256", "ed25519-sha256"]:
        """What it signs with, as the tag ``a=`` says it."""
        return "rsa-sha256" if isinstance(self.private_key, RSAPrivateKey) else "ed25519-sha256"

    def sign_digest(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest, the same each time (RFC 6376 3.3, RFC 8463 3)."""
        if isinstance(self.private_key, RSAPrivateKey):
            return self.private_key.sign(digest, _PADDING, _PREHASHED)
        return self.private_key.sign(digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimSigner:
    """Signs with each of its keys, in their order: an RSA key goes first, some receivers look no further."""

    keys: tuple[DkimKey, ...]
    canonicalization: Canonicalization = "relaxed/simple"

    def prepare(
        self, head: bytes, body_prefix: bytes, *, domain: str, signed_at: datetime
    ) -> PreparedSignature:
        """What the messages of one variant have in common, ready for ``PreparedSignature.sign``.

        ``head`` are the shared header lines, folded or not, with a CRLF at the end of each and without the
        empty line; ``body_prefix`` is how every body begins, possibly empty; ``domain`` is that of From;
        ``signed_at`` (aware) is the edition's instant, so that a repeated attempt has the same bytes.
        Raises OperationError for lines that are no header, and for a From that a key does not stand for:
        signed all the same, it would fail DMARC (RFC 7489 section 3.1.1).
        """
        for key in self.keys:
            if not _is_aligned(key.domain.lower(), domain.lower()):
                raise OperationError(
                    f"the DKIM key of {key.domain} does not stand for mail from {domain}: set [dkim] domain, "
                    "or another address with 'syndicate newsletter edit --from-email'"
                )
        lines = _signed_lines(head)
        return PreparedSignature(
            keys=self.keys,
            canonicalization=self.canonicalization,
            signed_at_s=int(signed_at.timestamp()),
            names=tuple(name for name, _ in lines),
            head=b"".join(line for _, line in lines),
            body=hashlib.sha256(body_prefix),
            body_tail=body_prefix[-4:],
        )

    def sign_message(self, message: bytes, *, domain: str, signed_at: datetime) -> bytes:
        """The signature lines of one whole message, to stand before it. Raises what ``prepare`` does."""
        head, _, body = message.partition(b"\r\n\r\n")
        return self.prepare(head + b"\r\n", body, domain=domain, signed_at=signed_at).sign(b"", ())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedSignature:
    """What ``DkimSigner.prepare`` gives; any number of threads may sign with it at once."""

    keys: tuple[DkimKey, ...]
    canonicalization: Canonicalization
    signed_at_s: int  #: ``t=``
    names: tuple[bytes, ...]  #: of the signed headers in ``head``, in order
    head: bytes  #: those headers in relaxed form
    body: _Hash  #: SHA-256 over the beginning of the body; only ever copied
    body_tail: bytes  #: its last bytes

    def sign(self, own_head: bytes, body_rest: Sequence[bytes]) -> bytes:
        """The ``DKIM-Signature`` lines of one message, each with its CRLF, to stand before the message.

        ``own_head`` are the reader's header lines, as in ``prepare``; they may stand before or after the
        shared ones. ``body_rest`` are the pieces of the body that follow the prefix. Equal input gives equal
        bytes. Raises OperationError for lines that are no header, a signed header that stands twice, none
        of From, and a body that does not end in exactly one CRLF.

        Otherwise the body is taken as canonical: no blanks at a line's end and no two in a row.
        """
        own = _signed_lines(own_head)
        names = self.names + tuple(name for name, _ in own)
        signed = self.head + b"".join(line for _, line in own)
        body_hash = _base64(self._body_digest(b"".join(body_rest)))
        return b"".join(self._signature(key, names, signed, body_hash) for key in self.keys)

    def _signature(self, key: DkimKey, names: tuple[bytes, ...], signed: bytes, body_hash: bytes) -> bytes:
        tags = (
            f"a={key.algorithm};", f"c={self.canonicalization};", f"d={key.domain};", f"s={key.selector};",
            f"t={self.signed_at_s};",
        )  # fmt: skip
        emitted, relaxed = _layout(tags, names)
        # The signature covers its own header in relaxed form, b= empty and without the last CRLF
        # (RFC 6376 section 3.7).
        digest = hashlib.sha256(b"%b%b%b; b=" % (signed, relaxed, body_hash)).digest()
        text = _base64(key.sign_digest(digest))
        folded = b"\r\n ".join(text[at : at + _WIDTH - 3] for at in range(0, len(text), _WIDTH - 3))
        return b"%b%b;\r\n b=%b\r\n" % (emitted, body_hash, folded)

    def _body_digest(self, rest: bytes) -> bytes:
        """The digest of the body, whose bytes are what canonicalization would make of them."""
        tail = (self.body_tail + rest[-4:])[-4:]
        if not tail.endswith(b"\r\n") or len(tail) <= 2 or tail.endswith(b"\r\n\r\n"):
            raise OperationError("the message cannot be signed: its body does not end in exactly one CRLF")
        body = self.body.copy()
        body.update(rest)
        return body.digest()


def _signed_lines(head: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that are signed: name in lower case, and line in relaxed form (RFC 6376 section 3.4.2)."""
    if not _HEAD.fullmatch(head):
        raise OperationError("the message cannot be signed: its head has a line that is no header")
    lines = []
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _SIGNED:
            lines.append((name, b"%b:%b\r\n" % (name, b" ".join(value.split()))))
    return lines


@lru_cache(maxsize=_KEPT_LAYOUTS)
def _layout(tags: tuple[str, ...], names: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """The signature's header up to the value of ``bh=``: as it is sent, and in relaxed form.

    Folded after tags and after the colons of ``h=``, where blanks are allowed (RFC 6376 section 3.5), and
    short, since a relay that folds a long line by itself breaks the signature.
    """
    if b"from" not in names or len(set(names)) < len(names):
        raise OperationError(
            "the message cannot be signed: it has no From, or one of its headers twice "
            f"({', '.join(name.decode() for name in names)})"
        )
    *listed, last = (b"h=" + names[0], *names[1:], *_OVERSIGNED)
    lines = [
        *_fold([b"DKIM-Signature: v=1;", *(tag.encode("ascii") for tag in tags)], b" "),
        *_fold([*(name + b":" for name in listed), last + b";"], b""),
        b"bh=",
    ]
    sent = b"\r\n ".join(lines)
    return sent, b" ".join(lines).replace(b"DKIM-Signature: ", b"dkim-signature:", 1)


def _fold(words: Sequence[bytes], separator: bytes) -> list[bytes]:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(separator) + len(word) > _WIDTH:
            lines.append(word)
        else:
            lines[-1] += separator + word
    return lines


def _is_aligned(ours: str, theirs: str) -> bool:
    """Whether one domain is the other, or lies within it (two in a third take the public suffix list)."""
    return f".{ours}".endswith(f".{theirs}") or f".{theirs}".endswith(f".{ours}")


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)
