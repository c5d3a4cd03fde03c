"""The transactions on one connection: what may be written next, and what each reply means for whom. No I/O.

Knows no sockets, clocks or other connections. A queue tells which replies are owed, so that the commands of
the next message go out along with the content of the one before (RFC 2920); to a server that does not offer
that, the same queue is simply never longer than one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Envelope, OutcomeKind, Stage
from syndicate.deliver.replies import Extensions, Reply
from syndicate.deliver.run import Run
from syndicate.deliver.wire import encode_content, encode_path
from syndicate.deliver.wording import clean_reply, with_code
from syndicate.errors import AddressError, OperationError, RelayError

__all__ = ["Dialogue"]


#: Looked up once: on the path of each message the class would be asked thirty times.
_MAIL, _RCPT, _DATA, _DOT = Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT

#: An edition has one sender.
_encode_sender = lru_cache(maxsize=16)(encode_path)


@dataclass(slots=True, kw_only=True, eq=False)
class _Transaction:
    """A message on its way."""

    place: int
    mail: bytes
    rcpt: bytes
    content: tuple[bytes, ...]
    is_refused_recipient: bool = False
    is_settled: bool = False  #: what became of it is known; whatever is still said about it is noise


#: What is written and then owed a reply: its stage, its message (None for RSET, which is no message's), its
#: bytes. A bare tuple, since four of them are made for each message.
_Command: TypeAlias = tuple[Stage, _Transaction | None, bytes]


class Dialogue:
    """Turns the replies of a server that is ready for mail into outcomes, and messages into groups to write.

    After ``is_over`` the connection is of no use and has to be closed.
    """

    def __init__(self, relay: str, extensions: Extensions) -> None:
        self.is_over = False
        self._relay, self._extensions = relay, extensions
        self._owed: deque[_Command] = deque()
        self._unwritten: list[_Command] = []
        self._due: _Transaction | None = None  #: has its 354; the content comes next
        self._has_transaction = (
            False  #: the server's, to be reset before another MAIL (RFC 5321 section 4.1.4)
        )
        self._reserved: int | None = None

    def begin(self, run: Run, slot: int, place: int, *, is_fresh: bool) -> None:
        """Takes the first message of a run; the others are fetched as there is room for them.

        ``is_fresh`` is False for a connection that was left from an earlier run: a server may end such a one
        at any time, and that says nothing about the message that finds out.
        """
        self._run, self._slot, self._reserved = run, slot, place
        self._is_fresh = is_fresh

    @property
    def owed(self) -> Stage | None:
        """What the next reply will answer; None if none is due."""
        return self._owed[0][0] if self._owed else None

    def advance(self, now_s: float) -> list[bytes]:
        """What is to be written now, as one group; nothing if replies are owed or nothing is left to do."""
        if self.is_over:
            return []
        if self._due is not None:
            return self._write_content(self._due, now_s)
        if self._owed:
            return []
        if not self._unwritten:
            self._queue_next(now_s)
        return self._write_commands()

    def take_reply(self, reply: Reply, *, is_content_out: bool = True) -> None:
        """Matches a reply to what it is owed to.

        ``is_content_out`` is False while content is known not to have left us: no such message was accepted,
        but it may have been refused.
        """
        code, text = reply
        if not self._owed:
            self.end(f"a reply that nobody asked for: {code} {text}")
            return
        stage, transaction, _ = self._owed[0]
        is_good = code == 354 if stage is _DATA else code < 300
        is_early = stage is _DOT and not is_content_out
        if code < 400 and (is_early or not is_good):  # RFC 5321 section 4.3.2
            self.end(f"a reply that is out of place: {code} {text}", is_dot_unsent=is_early)
        elif code == 421 or is_early or (transaction is None and not is_good):
            self.end(text, code=code)
        else:
            self._owed.popleft()
            if transaction is None:
                self._has_transaction = False
            elif transaction.is_settled:
                self._take_noise(stage, transaction, is_good=is_good)
            else:
                self._take_answer(stage, transaction, reply, is_good=is_good)

    def end(self, text: str, *, code: int | None = None, is_dot_unsent: bool = False) -> None:
        """The connection is lost, or has to be: decides what that means for each message on it.

        The first owed reply is the one that did not come, or was replaced by ``code``; what else was on its
        way had at most its commands written and is given back. Nor does the first message pay if the
        connection was not new and ended before its MAIL was answered.
        """
        if self.is_over:
            return
        self.is_over = True
        steps = [*self._owed, *self._unwritten]
        if self._due is not None:
            steps.insert(0, (_DATA, self._due, b""))
        waiting = [t for t in dict.fromkeys(t for _, t, _ in steps) if t is not None and not t.is_settled]
        if waiting and waiting[0] is steps[0][1] and (self._is_fresh or steps[0][0] is not _MAIL):
            stage = _DATA if is_dot_unsent and steps[0][0] is _DOT else steps[0][0]
            self._settle(waiting.pop(0), stage, code, text)
        for transaction in reversed(waiting):
            self._run.give_back(transaction.place)

    def _take_answer(self, stage: Stage, transaction: _Transaction, reply: Reply, *, is_good: bool) -> None:
        if stage is _DOT or not is_good:
            transaction.is_refused_recipient = stage is _RCPT
            self._settle(transaction, stage, reply.code, reply.text)
        elif stage is _MAIL:
            self._has_transaction = True
        elif stage is _DATA:
            self._due = transaction

    def _take_noise(self, stage: Stage, transaction: _Transaction, *, is_good: bool) -> None:
        """What is said of a message after it was refused (RFC 2920 section 3.1)."""
        if stage is _RCPT:
            transaction.is_refused_recipient = not is_good
        elif stage is _DATA and is_good:
            if transaction.is_refused_recipient:
                self._unwritten.append((_DOT, transaction, b".\r\n"))
                self._has_transaction = False
            else:
                self.is_over = True  # a recipient was accepted, and would get an empty message

    def _settle(self, transaction: _Transaction, stage: Stage, code: int | None, text: str) -> None:
        transaction.is_settled, self._is_fresh = True, False
        self._unwritten.clear()
        verdict = classify(stage, code, text)
        if isinstance(verdict, RelayFault):
            self.is_over = True
            self._run.give_back(transaction.place, RelayError(self._relay, stage, with_code(code, text)))
        else:
            self._run.settle(self._slot, transaction.place, verdict, stage, code, text)

    def _write_content(self, transaction: _Transaction, now_s: float) -> list[bytes]:
        self._due = None
        if self._run.fault is not None:
            self.is_over = True
            self._run.give_back(transaction.place)
            return []
        self._owed.append((_DOT, transaction, b""))
        self._has_transaction = False
        group = list(transaction.content)
        if self._extensions.has_pipelining:
            self._queue_next(now_s)
            group += self._write_commands()
        return group

    def _queue_next(self, now_s: float) -> None:
        while (place := self._next_place(now_s)) is not None:
            transaction = self._prepare(place, self._run.envelopes[place])
            if transaction is not None:
                if self._has_transaction:
                    self._unwritten.append((_MAIL, None, b"RSET\r\n"))
                self._unwritten.append((_MAIL, transaction, transaction.mail))
                self._unwritten.append((_RCPT, transaction, transaction.rcpt))
                self._unwritten.append((_DATA, transaction, b"DATA\r\n"))
                return

    def _next_place(self, now_s: float) -> int | None:
        if self._reserved is None:
            return self._run.take_if_due(self._slot, now_s)
        place, self._reserved = self._reserved, None
        return place

    def _write_commands(self) -> list[bytes]:
        """All that are waiting, or one if the server wants to answer each before the next."""
        count = len(self._unwritten) if self._extensions.has_pipelining else 1
        group, self._unwritten = self._unwritten[:count], self._unwritten[count:]
        self._owed.extend(group)
        return [line for _, _, line in group]

    def _prepare(self, place: int, envelope: Envelope) -> _Transaction | None:
        """The message as it goes on the wire; None if it cannot, which is settled here."""
        settle = self._run.settle
        try:
            recipient = encode_path(envelope.recipient)
        except AddressError as error:
            settle(self._slot, place, OutcomeKind.FAILED, Stage.ENVELOPE, None, str(error))
            return None
        try:
            content, options = self._encode(envelope)
        except OperationError as error:
            settle(self._slot, place, OutcomeKind.FAILED, Stage.DATA, None, str(error))
            return None
        try:
            sender = _encode_sender(envelope.sender)
        except AddressError as error:
            self._run.give_back(place, RelayError(self._relay, Stage.MAIL, clean_reply(f"sender {error}")))
            return None
        return _Transaction(
            place=place,
            mail=b"MAIL FROM:%b%b\r\n" % (sender, options),
            rcpt=b"RCPT TO:%b\r\n" % recipient,
            content=content,
        )

    def _encode(self, envelope: Envelope) -> tuple[tuple[bytes, ...], bytes]:
        """Content and parameters of MAIL. Raises OperationError if the server would not take it."""
        message, offered = envelope.message, self._extensions
        size = len(message)  # before dots are doubled (RFC 1870 section 5)
        if 0 < offered.max_bytes < size:
            raise OperationError(f"the message has {size} bytes; the relay takes {offered.max_bytes}")
        options = b" SIZE=%d" % size if offered.has_size else b""
        if envelope.is_canonical:
            return (message, b".\r\n"), options
        if not message.isascii():
            if not offered.has_8bitmime:
                raise OperationError("the message is not 7-bit clean, and the relay takes nothing else")
            options += b" BODY=8BITMIME"
        return (encode_content(message),), options
