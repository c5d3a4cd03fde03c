"""E-mail addresses: whether mail can be sent to one, and when two of them mean the same mailbox.

Asks no name server: an address may be well-formed and still not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from email_validator import EmailNotValidError, validate_email

from subscribers.errors import InvalidAddress

__all__ = ["Address", "parse_address"]

#: The longest path of RFC 5321 section 4.5.3.1.3, without its angle brackets.
_MAX_LENGTH: Final = 254

#: Domains that are no names of the public internet are checked as if they were below this one.
_STANDING: Final = ".example.com"
_PRIVATE: Final = ("local", "localhost", "test")  # RFC 6761, RFC 6762


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address that mail can be sent to."""

    email: str  #: as its owner writes it, the domain in lower case and readable
    key: str  #: case-folded, the domain as A-labels: equal for equal mailboxes; ASCII


def parse_address(text: str, *, allow_private: bool = False) -> Address:
    """The address in a text that holds nothing else; blanks around it are dropped.

    Domains such as ``box.local``, ``localhost`` and ``mail.test`` are refused unless ``allow_private`` says
    that the relay serves them. Raises InvalidAddress with a sentence for its owner. Controls and angle
    brackets never pass (they would speak to the SMTP server), nor do letters beyond ASCII before the @:
    few servers accept them (RFC 6531).
    """
    email = text.strip(" ")
    if len(email) > _MAX_LENGTH:
        raise InvalidAddress(text, f"An address has at most {_MAX_LENGTH} characters.")
    if not email.isprintable():
        raise InvalidAddress(text, "An address has no line breaks or other invisible characters.")
    # CPython before 3.13 decodes an encoded word in an address that it puts into a header (CVE-2024-6923).
    if "=?" in email:
        raise InvalidAddress(text, "An address with '=?' in it is not accepted here.")
    local, at, domain = email.rpartition("@")
    if not (at and local.isascii()):
        raise InvalidAddress(
            text,
            "Letters such as é before the @ are not accepted here."
            if at
            else "An address looks like name@example.com; the @ is missing.",
        )
    suffix = _STANDING if allow_private and _is_private(domain) else ""
    try:
        checked = validate_email(
            email + suffix, strict=True, allow_smtputf8=False, check_deliverability=False
        )
    except EmailNotValidError as error:
        raise InvalidAddress(text, " ".join(str(error).split())) from error
    if checked.ascii_email is None:
        raise InvalidAddress(text, "This address cannot be written in ASCII, which mail needs.")
    return Address(
        email=checked.normalized.removesuffix(suffix),
        key=checked.ascii_email.casefold().removesuffix(suffix),
    )


def _is_private(domain: str) -> bool:
    return domain.casefold().rpartition(".")[2] in _PRIVATE
