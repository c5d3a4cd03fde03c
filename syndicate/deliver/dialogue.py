"""The transactions on one connection: what may be written next, and what each reply means for whom. No I/O.

Knows no sockets, clocks or other connections. A queue tells which replies are owed, so that the commands of
the next message go out along with the content of the one before (RFC 2920); to a server that does not offer
that, the same queue is simply never longer than one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Envelope, OutcomeKind, Stage
from syndicate.deliver.packing import Packer, Parcel, RefusedError
from syndicate.deliver.replies import Extensions, Reply
from syndicate.deliver.stream import Stream
from syndicate.deliver.wording import clean_reply, with_code
from syndicate.errors import RelayError

__all__ = ["Dialogue"]


#: Looked up once: on the path of each message the class would be asked thirty times.
_MAIL, _RCPT, _DATA, _DOT = Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT


#: What is written and then owed a reply: its stage, its message (None for RSET, which is no message's), its
#: bytes. A bare tuple, since four of them are made for each message.
_Command: TypeAlias = tuple[Stage, Parcel | None, bytes]


class Dialogue:
    """Turns the replies of a server that is ready for mail into outcomes, and messages into groups to write.

    After ``is_over`` the connection is of no use and has to be closed. ``share`` is how many messages it may
    take, 0 for any number.
    """

    def __init__(self, stream: Stream, extensions: Extensions, *, share: int = 0) -> None:
        self.is_over = False
        #: How much of the group that was written last is content, with its final dot: that stands first.
        self.content_bytes = 0
        #: False for a connection that was at rest or settled a message: a server may end such a one at any
        #: time, and that says nothing about the message that finds out.
        self.is_fresh = True
        self._stream, self._has_pipelining = stream, extensions.has_pipelining
        self._packer = Packer(extensions)
        self._owed: deque[_Command] = deque()
        self._unwritten: list[_Command] = []
        self._due: Parcel | None = None  #: has its 354; the content comes next
        self._pair: tuple[Parcel, Parcel] | None = (
            None  #: whose content was written last, and what followed it
        )
        self._has_transaction = (
            False  #: the server's, to be reset before another MAIL (RFC 5321 section 4.1.4)
        )
        self._left = share or -1  #: how many messages more; never 0 if there is no end

    @property
    def owed(self) -> Stage | None:
        """What the next reply will answer; None if none is due."""
        return self._owed[0][0] if self._owed else None

    @property
    def is_used_up(self) -> bool:
        """Whether it has had its share of messages."""
        return self._left == 0

    def advance(self, now_s: float) -> list[bytes]:
        """What is to be written now, as one group; nothing if replies are owed or nothing is left to do."""
        if self._due is not None:
            return self._write_content(self._due, now_s)
        if self._owed or self.is_over:
            return []
        if not self._unwritten:
            self._queue_next(now_s)
        self.content_bytes = 0
        return self._write_commands()

    def take_replies(self, replies: Sequence[Reply], now_s: float, *, is_content_out: bool = True) -> None:
        """Matches replies to what they are owed to.

        ``is_content_out`` is False while content is known not to have left us: no such message was accepted,
        but it may have been refused.
        """
        owed, self._stream.now_s = self._owed, now_s
        if self._pair is not None and is_content_out and self._is_all_well(replies):
            sent, self._due = self._pair
            self._has_transaction = True
            owed.clear()
            self._settle_sent(sent, replies[0])
            return
        for reply in replies:
            if self.is_over:
                return
            if not owed:
                self.end(f"a reply that nobody asked for: {reply.code} {reply.text}")
                return
            stage, parcel, _ = owed[0]
            is_good = reply.code == 354 if stage is _DATA else reply.code < 300
            is_early = stage is _DOT and not is_content_out
            if not is_good or is_early or parcel is None or parcel.is_settled:
                self._take_other(reply, is_good=is_good, is_early=is_early)
                continue
            owed.popleft()
            if stage is _DOT:
                self._settle_sent(parcel, reply)
            elif stage is _DATA:
                self._due = parcel
            else:
                self._has_transaction = True

    def _is_all_well(self, replies: Sequence[Reply]) -> bool:
        """Whether one message was taken and the next one may follow: the usual case, seen at one glance."""
        return (
            len(replies) == len(self._owed) == 4
            and self._owed[0][0] is _DOT
            and replies[3].code == 354
            and replies[0].code < 300
            and replies[1].code < 300
            and replies[2].code < 300
        )

    def end(self, text: str, *, code: int | None = None, is_dot_unsent: bool = False) -> None:
        """The connection is lost, or has to be: decides what that means for each message on it.

        The first owed reply is the one that did not come, or was replaced by ``code``; what else was on its
        way had at most its commands written and is given back. Nor does the first message pay if the
        connection was not new and ended before its MAIL was answered.
        """
        steps = self._close()
        first = steps[0] if steps else None
        if first is not None and (parcel := first[1]) is not None and not parcel.is_settled:
            stage = _DATA if is_dot_unsent and first[0] is _DOT else first[0]
            if self.is_fresh or stage is not _MAIL:
                self._settle(parcel, stage, code, text)
        self._give_back(steps)

    def let_go(self, now_s: float) -> None:
        """Gives up the message whose commands wait behind a slow answer, if its time to begin has passed.

        What the server says of it then is noise; another connection may have it.
        """
        if self._pair is None or len(self._owed) != 4 or self._owed[0][0] is not _DOT:
            return
        _, follower = self._pair
        if follower.envelope.begin_before_s < now_s:
            follower.is_settled, self._pair = True, None
            self._has_transaction = True
            self._stream.expire(follower.envelope)

    def abandon(self, *, is_dot_unsent: bool = False) -> None:
        """We end it ourselves: only content that may have left us whole makes its message uncertain."""
        steps = self._close()
        if steps and steps[0][0] is _DOT and not is_dot_unsent:
            parcel = steps[0][1]
            if parcel is not None and not parcel.is_settled:
                self._settle(parcel, _DOT, None, "sending was stopped before the reply came")
        self._give_back(steps)

    def _close(self) -> list[_Command]:
        """All that is on its way, in order. After this there is nothing more."""
        steps = [*self._owed, *self._unwritten]
        if self._due is not None:
            steps.insert(0, (_DATA, self._due, b""))
        self.is_over, self._due = True, None
        self._owed.clear()
        self._unwritten.clear()
        return steps

    def _give_back(self, steps: list[_Command]) -> None:
        waiting = dict.fromkeys(t for _, t, _ in steps if t is not None and not t.is_settled)
        for parcel in reversed(waiting):
            self._stream.give_back(parcel.envelope)

    def _take_other(self, reply: Reply, *, is_good: bool, is_early: bool) -> None:
        """Whatever is not simply a yes to an open message."""
        stage, parcel, _ = self._owed[0]
        code, text = reply.code, reply.text
        if code < 400 and (is_early or not is_good):  # RFC 5321 section 4.3.2
            self.end(f"a reply that is out of place: {code} {text}", is_dot_unsent=is_early)
        elif code == 421 or is_early or (parcel is None and not is_good):
            self.end(text, code=code)
        else:
            self._owed.popleft()
            if parcel is None:
                self._has_transaction = False
            elif parcel.is_settled:
                self._take_noise(stage, parcel, is_good=is_good)
            else:
                parcel.is_refused_recipient = stage is _RCPT
                self._settle(parcel, stage, code, text)

    def _take_noise(self, stage: Stage, parcel: Parcel, *, is_good: bool) -> None:
        """What is said of a message after it was refused (RFC 2920 section 3.1)."""
        if stage is _RCPT:
            parcel.is_refused_recipient = not is_good
        elif stage is _DATA and is_good:
            if parcel.is_refused_recipient:
                self._unwritten.append((_DOT, parcel, b".\r\n"))
                self._has_transaction = False
            else:
                self._give_back(self._close())  # a recipient was accepted, and would get an empty message

    def _settle_sent(self, parcel: Parcel, reply: Reply) -> None:
        parcel.is_settled, self.is_fresh = True, False
        self._stream.settle_sent(parcel.envelope, reply.code, reply.text)

    def _settle(self, parcel: Parcel, stage: Stage, code: int | None, text: str) -> None:
        """Anything but a yes to the dot."""
        parcel.is_settled, self.is_fresh = True, False
        stream = self._stream
        self._unwritten.clear()
        verdict = classify(stage, code, text)
        if isinstance(verdict, RelayFault):
            fault = RelayError(stream.relay, stage, with_code(code, text))
            stream.give_back(parcel.envelope, fault)
            self._give_back(self._close())
        else:
            stream.settle(parcel.envelope, verdict, stage, code, text)

    def _write_content(self, parcel: Parcel, now_s: float) -> list[bytes]:
        stream = self._stream
        if stream.fault is not None:
            self._give_back(self._close())
            return []
        if parcel.envelope.begin_before_s < now_s:
            parcel.is_settled = True
            stream.expire(parcel.envelope)
            self._give_back(self._close())  # a lone dot would deliver an empty message
            return []
        self._due = self._pair = None
        self._owed.append((_DOT, parcel, b""))
        self._has_transaction = False
        self.content_bytes = parcel.content_bytes
        group = [*parcel.content]
        if self._has_pipelining and (follower := self._take_next(now_s)) is not None:
            self._owed += ((_MAIL, follower, b""), (_RCPT, follower, b""), (_DATA, follower, b""))
            group += (follower.mail, follower.rcpt, b"DATA\r\n")
            self._pair = parcel, follower
        return group

    def _queue_next(self, now_s: float) -> None:
        """The commands of the next message, if there is one for this connection now."""
        parcel = self._take_next(now_s)
        if parcel is not None:
            if self._has_transaction:
                self._unwritten.append((_MAIL, None, b"RSET\r\n"))
            self._unwritten += (
                (_MAIL, parcel, parcel.mail),
                (_RCPT, parcel, parcel.rcpt),
                (_DATA, parcel, b"DATA\r\n"),
            )

    def _take_next(self, now_s: float) -> Parcel | None:
        stream = self._stream
        while self._left and not stream.allowance.is_exceeded:
            envelope = stream.take(now_s)
            if envelope is None:
                return None
            try:
                parcel = self._packer.pack(envelope)
            except RefusedError as refusal:
                self._refuse(envelope, refusal)
            else:
                self._left -= 1
                return parcel
        return None

    def _refuse(self, envelope: Envelope, refusal: RefusedError) -> None:
        """What cannot go out on this connection, which is ours to say: its sender is nobody's delivery."""
        if refusal.stage is _MAIL:
            self._stream.give_back(envelope, RelayError(self._stream.relay, _MAIL, clean_reply(str(refusal))))
        else:
            self._stream.settle(envelope, OutcomeKind.FAILED, refusal.stage, None, str(refusal))

    def _write_commands(self) -> list[bytes]:
        """All that are waiting, or one if the server wants to answer each before the next."""
        if self._has_pipelining:
            group, self._unwritten = self._unwritten, []
        else:
            group, self._unwritten = self._unwritten[:1], self._unwritten[1:]
        self._owed.extend(group)
        return [line for _, _, line in group]
