"""Every error that Syndicate raises on purpose.

    SyndicateError
    ├── UsageError                  what was asked cannot be understood            (exit 2)
    │   ├── ConfigurationError      every mistake in the settings, with its place
    │   └── NotFound                no such newsletter, source, edition ...
    └── OperationError              what was asked could not be done               (exit 1)
        ├── StateError              not possible in the state that the thing is in
        ├── CollectError            a source could not be read
        │   ├── FetchError          ... because of the network or the server
        │   │   ├── PrivateAddress  ... because the guard refused to dial
        │   │   └── HostHeld        ... not yet: its host asked for a pause (in collect/hosts.py)
        │   └── ParseError          ... because of its content
        ├── TemplateError           a template is broken; names file and line
        ├── AddressError            an address that mail cannot be sent to
        └── RelayError              the relay refused us: no reader is to blame

Each message is one line that names the thing, the value and the way out; each error carries its data.
The package ``subscribers`` has a tree of its own, since it does not know this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = [
    "AddressError",
    "CollectError",
    "ConfigurationError",
    "FetchError",
    "NotFound",
    "OperationError",
    "ParseError",
    "PrivateAddress",
    "RelayError",
    "StateError",
    "SyndicateError",
    "TemplateError",
    "UsageError",
]


#: How many names fit into one line of a message.
_MOST_NAMES: Final = 20


class SyndicateError(Exception):
    """The root: something that an operator can read and act on."""


class UsageError(SyndicateError):
    """What was asked for cannot be understood; nothing was done."""


class ConfigurationError(UsageError):
    """The settings are wrong; ``problems`` lists every mistake, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class NotFound(UsageError):
    """There is no thing of this kind by this name; ``known`` are the names that exist, None if too many."""

    def __init__(self, kind: str, name: object, known: Sequence[object] | None = None) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known or ())
        more = f" and {len(self.known) - _MOST_NAMES} more" if len(self.known) > _MOST_NAMES else ""
        names = ", ".join(map(str, self.known[:_MOST_NAMES]))
        hint = f"; one of {names}{more}" if known else f"; there is no {kind} yet"
        super().__init__(f"unknown {kind} '{name}'{hint if known is not None else ''}")


class OperationError(SyndicateError):
    """What was asked for is understood and could not be done."""


class StateError(OperationError):
    """The thing is in a state in which this is not possible."""


class CollectError(OperationError):
    """A source could not be read; ``location`` is its URL or path, ``reason`` a short code."""

    def __init__(self, location: str, reason: str, detail: str = "") -> None:
        self.location, self.reason, self.detail = location, reason, detail
        super().__init__(f"{location}: {detail or reason}")


class FetchError(CollectError):
    """The network or the server failed; ``retry_after_s`` is what the server asked for, if it did."""

    def __init__(
        self, location: str, reason: str, detail: str = "", *, retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(location, reason, detail)


class PrivateAddress(FetchError):
    """The guard refused to dial. The address itself goes to the log only: it would tell a stranger
    what the inside of the operator's network looks like.
    """

    def __init__(self, location: str) -> None:
        super().__init__(
            location,
            "private_address",
            "is at a private address; list its network in [fetch] allow_private if you mean it",
        )


class ParseError(CollectError):
    """The content is not what a source of this kind holds."""


class TemplateError(OperationError):
    """A template is broken; ``template`` and ``line`` say where."""

    def __init__(self, template: str, line: int | None, detail: str) -> None:
        self.template, self.line, self.detail = template, line, detail
        place = f"{template}, line {line}" if line else template
        super().__init__(f"{place}: {detail}")


class AddressError(OperationError):
    """Mail cannot be sent to, or from, this address; ``address`` is as it was given."""

    def __init__(self, address: str, detail: str) -> None:
        self.address, self.detail = address, detail
        super().__init__(f"{address!a} {detail}")


class RelayError(OperationError):
    """The relay refused us before any reader came into it, so nobody's delivery is affected.

    ``stage`` is one of connect, tls, auth, mail, or a later one if reader after reader was refused for no
    fault of theirs; ``reply`` is what the server said, or the system's error. ``is_temporary`` tells a relay
    that is to be tried again after a while from one that an operator has to see to.
    """

    def __init__(self, relay: str, stage: str, reply: str, *, is_temporary: bool = False) -> None:
        self.relay, self.stage, self.reply, self.is_temporary = relay, stage, reply, is_temporary
        super().__init__(f"relay {relay}: {stage} failed: {reply}")
