from __future__ import annotations

import email
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syndicate.deliver.dkim import DkimKey, DkimSigner
from syndicate.digest.compile import compile_edition
from syndicate.digest.letters import build_letter
from syndicate.errors import ConfigurationError, OperationError
from tests.digest_builders import TEMPLATES, make_articles, make_edition, make_message, make_newsletter
from tests.dkim_oracle import ED25519, RSA, judge

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "deliver"
AT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
OWN_HEAD = (
    b"To: ann@example.com\r\n"
    b"Message-ID: <abcdefghijklmnop@example.org>\r\n"
    b"List-Unsubscribe: <https://letters.example.org/unsubscribe/abcdefghijklmnopqrstuvwxyz234567>\r\n"
)
HEAD = (
    b"Subject: =?utf-8?q?Why_the_tide_comes_twice=2C_and_what_the_moon_has_to_do_?=\r\n"
    b" =?utf-8?q?with_it_=F0=9F=8C=8A?=\r\n"
    b"From: Tide & Timber <letters@example.org>\r\n"
    b"Reply-To: post@example.org\r\n"
    b"Date: Sat, 14 Mar 2026 09:26:00 +0000\r\n"
    b"List-Id: Tide & Timber <tide.example.org>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"List-Help: <https://letters.example.org/tide/>\r\n"
    b"List-Post: NO\r\n"
    b"List-Archive: <https://letters.example.org/tide/>\r\n"
    b"Feedback-ID: 7:tide:syndicate\r\n"
    b"Precedence: bulk\r\n"
    b"Auto-Submitted: auto-generated\r\n"
    b"X-Edition: 7\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="=_0123456789"\r\n'
)
#: The headers above that a signature covers; X-Edition is none of them.
SIGNED = [
    "to", "message-id", "list-unsubscribe", "subject", "from", "reply-to", "date", "list-id",
    "list-unsubscribe-post", "list-help", "list-post", "list-archive", "feedback-id", "precedence",
    "auto-submitted", "mime-version", "content-type",
]  # fmt: skip
OVERSIGNED = [
    "from", "to", "subject", "date", "reply-to", "message-id", "content-type", "list-unsubscribe",
    "list-unsubscribe-post",
]  # fmt: skip
BODY = b"--=_0123456789\r\n\r\nHello Ann,=\r\n\r\nthe tide comes twice.\r\n--=_0123456789--\r\n"
CANONICALIZATIONS = ("relaxed/simple", "relaxed/relaxed")

#: What may be a header's value: printable ASCII, blanks of both kinds, folds before something visible.
values = st.lists(
    st.sampled_from(["", " ", "  ", "\t", " \t ", "\r\n ", "\r\n\t ", ":", ";", "b=x", "=?utf-8?q?a?="])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=90),
    max_size=12,
).map(lambda parts: re.sub(r"(\r\n[ \t]+)+(?=\r\n|$)", "", "".join(parts)))
#: Bodies as they are composed: lines of visible characters with single blanks, the last one not empty.
bodies = st.lists(
    st.lists(st.from_regex(r"[!-~]{1,30}", fullmatch=True), max_size=3).map(" ".join), min_size=1, max_size=8
).map(lambda lines: ("\r\n".join(lines) + "x\r\n").encode())


def make_signer(*keys: DkimKey, canonicalization: str = "relaxed/simple") -> DkimSigner:
    return DkimSigner(keys=keys or (RSA, ED25519), canonicalization=canonicalization)


def sign(
    own_head: bytes = OWN_HEAD, head: bytes = HEAD, body: bytes = BODY, signer: DkimSigner | None = None
) -> bytes:
    """The signed message, the first half of whose body is shared."""
    half = len(body) // 2
    prepared = (signer or make_signer()).prepare(head, body[:half], domain="example.org", signed_at=AT)
    return prepared.sign(own_head, [body[half:]]) + own_head + head + b"\r\n" + body


def tags_of(message: bytes) -> list[dict[str, str]]:
    found = []
    for value in email.message_from_bytes(message).get_all("DKIM-Signature", []):
        pairs = (tag.split("=", 1) for tag in re.sub(r"\s", "", value).split(";"))
        found.append(dict(pairs))
    return found


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
@pytest.mark.parametrize("keys", [(RSA,), (ED25519,), (RSA, ED25519)], ids=["rsa", "ed25519", "both"])
def test_receivers_take_each_signature(keys: tuple[DkimKey, ...], canonicalization: str) -> None:
    message = sign(signer=make_signer(*keys, canonicalization=canonicalization))
    assert judge(message) == [True] * len(keys)
    assert [(t["a"], t["c"]) for t in tags_of(message)] == [(k.algorithm, canonicalization) for k in keys]


def test_the_message_with_two_signatures_is_the_golden_one() -> None:
    message, path = sign(), GOLDEN / "signed.eml"
    if not path.exists():
        path.write_bytes(message)
        pytest.fail(f"{path.name} was missing and has been written; read it before you keep it")
    assert message == path.read_bytes()
    assert judge(message) == [True, True]


def test_the_tags_say_what_is_signed_and_nothing_that_weakens_it() -> None:
    for tags in tags_of(sign()):
        assert set(tags) == {"v", "a", "c", "d", "s", "t", "h", "bh", "b"}, (
            "no l=, which lets a body grow; no x="
        )
        assert (tags["v"], tags["d"], tags["t"]) == ("1", "example.org", str(int(AT.timestamp())))
        assert sorted(tags["h"].split(":")) == sorted([*SIGNED, *OVERSIGNED])


def test_lines_of_the_signature_are_short_enough_to_be_left_alone() -> None:
    long = DkimKey(domain=f"{'a' * 60}.example.org", selector="s" * 60, private_key=RSA.private_key)
    for signer in (make_signer(), make_signer(long)):
        domain = signer.keys[0].domain
        prepared = signer.prepare(HEAD, b"", domain=domain, signed_at=AT)
        lines = prepared.sign(OWN_HEAD, [BODY]).split(b"\r\n")
        assert max(map(len, lines)) < 78
        assert lines.pop() == b""
        assert all(line.startswith((b"DKIM-Signature: v=1;", b" ")) and line.strip() for line in lines)


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_header_cannot_be_changed_or_taken_away(name: str) -> None:
    message = sign()
    line = re.search(rb"(?mi)^%b:(?:.+\r\n)(?:[ \t].+\r\n)*" % name.encode(), message)
    assert line is not None
    for at in (line.start() + len(name) + 3, line.end() - 4):
        changed = bytearray(message)
        changed[at] ^= 1
        assert judge(bytes(changed)) == [False, False], changed[line.start() : line.end()]
    assert judge(message[: line.start()] + message[line.end() :]) == [False, False]


@pytest.mark.parametrize("name", OVERSIGNED)
def test_another_header_of_the_name_cannot_be_added(name: str) -> None:
    message = sign()
    head, _, body = message.partition(b"\r\n\r\n")
    added = f"{name}: mallory@example.net".encode()
    assert judge(added + b"\r\n" + message) == [False, False]
    assert judge(head + b"\r\n" + added + b"\r\n\r\n" + body) == [False, False]


@pytest.mark.parametrize("name", ["Reply-To", "List-Unsubscribe"])
def test_a_header_that_is_not_there_cannot_be_added(name: str) -> None:
    head = HEAD.replace(b"Reply-To: post@example.org\r\n", b"")
    message = sign(OWN_HEAD.partition(b"List-Unsubscribe:")[0], head)
    assert judge(message) == [True, True]
    assert judge(name.encode() + b": <mailto:mallory@example.net>\r\n" + message) == [False, False]


def test_no_byte_of_the_body_can_be_changed_and_none_be_added() -> None:
    message = sign()
    begin = message.index(b"\r\n\r\n") + 4
    for at in range(begin, len(message) - 2):
        if message[at] in b"\r\n":
            continue
        changed = bytearray(message)
        changed[at] ^= 1
        assert judge(bytes(changed)) == [False, False], at
    assert judge(message + b"more\r\n") == [False, False]


def test_what_relays_do_to_a_message_does_no_harm() -> None:
    message = sign()
    signature, rest = message.split(b"To: ann", 1)
    for changed in (
        b"Received: from a.example by b.example; Sat, 14 Mar 2026 09:26:01 +0000\r\nX-Spam: no\r\n" + message,
        re.sub(rb"\r\n(?= )", b"", signature) + b"To: ann" + rest,
        message.replace(b"\r\nSubject:", b"\r\nSUBJECT:   ").replace(
            b"Precedence: bulk", b"precedence:bulk \t"
        ),
        message.replace(b"Tide & Timber <letters", b"Tide\r\n\t&   Timber <letters"),
        message + b"\r\n\r\n",
    ):
        assert changed != message
        assert judge(changed) == [True, True], changed


def test_a_readers_own_headers_may_stand_behind_the_shared_ones() -> None:
    signature = sign()[: -len(OWN_HEAD + HEAD + b"\r\n" + BODY)]
    assert judge(signature + HEAD + OWN_HEAD + b"\r\n" + BODY) == [True, True]


@given(value=values)
@example(value="")
@example(value=" ")
@example(value="\t two  blanks \t and a tab\t ")
@example(value="\r\n folded before the first word")
@example(value="a\r\n \t b\r\n\tc")
@example(value="x" * 900)
def test_any_value_of_a_header_is_signed_as_receivers_read_it(value: str) -> None:
    head = b"From: letters@example.org\r\nSubject:" + value.encode() + b"\r\nDate: today\r\n"
    own_head = b"Message-ID:" + value.encode() + b"\r\n"
    assert judge(sign(own_head, head)) == [True, True]


@given(
    body=bodies,
    cuts=st.lists(st.integers(0, 300), max_size=5),
    canonicalization=st.sampled_from(CANONICALIZATIONS),
)
def test_a_canonical_body_is_signed_however_it_is_cut(
    body: bytes, cuts: list[int], canonicalization: str
) -> None:
    signer = make_signer(ED25519, canonicalization=canonicalization)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    first, *rest = [body[a:b] for a, b in pairwise(edges)]
    signature = signer.prepare(HEAD, first, domain="example.org", signed_at=AT).sign(OWN_HEAD, rest)
    whole = signer.prepare(HEAD, b"", domain="example.org", signed_at=AT).sign(OWN_HEAD, [body])
    assert signature == whole
    assert judge(signature + OWN_HEAD + HEAD + b"\r\n" + body) == [True]


def test_threads_that_sign_with_one_preparation_give_what_one_gives() -> None:
    prepared = make_signer().prepare(HEAD, BODY, domain="example.org", signed_at=AT)
    own_heads = [OWN_HEAD.replace(b"ann@", b"reader-%d@" % n) for n in range(60)]
    rests = [[b"for you: %d\r\n" % n, b"x" * 3000 + b"\r\n"] for n in range(60)]
    one_by_one = [prepared.sign(o, r) for o, r in zip(own_heads, rests, strict=True)]
    assert len(set(one_by_one)) == 60
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(prepared.sign, own_heads, rests)) == one_by_one


def test_a_whole_message_is_signed_too() -> None:
    message = OWN_HEAD + HEAD + b"\r\n" + BODY
    signature = make_signer().sign_message(message, domain="example.org", signed_at=AT)
    assert judge(signature + message) == [True, True]


@pytest.mark.parametrize("canonicalization", CANONICALIZATIONS)
def test_composed_digests_and_letters_are_canonical(canonicalization: str) -> None:
    compiled = compile_edition(make_edition())
    digest = make_message(compiled, [a.id for a in make_articles()], name="Ada  =?x?= Ŵ")
    letter = build_letter(
        template="confirm",
        newsletter=make_newsletter(),
        to="ada@example.com",
        subject="Please confirm",
        values={
            "confirm_url": "https://a.example/confirm/abc",
            "home_url": "https://a.example/",
            "name": "Ada",
        },
        date=AT,
        message_id="<a@example.org>",
        template_folders=(TEMPLATES,),
    )
    signer = make_signer(canonicalization=canonicalization)
    for message in (digest, letter):
        signature = signer.sign_message(message, domain="example.org", signed_at=AT)
        assert judge(signature + message) == [True, True]


@pytest.mark.parametrize(
    "line",
    [
        b"Subject: a\nBcc: e@example.net\r\n",
        b"Subject: a\rBcc: e@example.net\r\n",
        b"Subject: a\0b\r\n",
        b"Subject: \xc3\xa9\r\n",
        b"Subject: a\x0bb\r\n",
        b"Subject: no end",
        b"Subject\r\n",
        b"Subject : a\r\n",
        b": a\r\n",
        b"\r\n",
        b"Subject: a\r\n\r\nfrom here on it would be the body\r\n",
    ],
)
def test_a_line_that_is_no_header_is_refused(line: bytes) -> None:
    head = HEAD[HEAD.index(b"From:") :]
    with pytest.raises(OperationError, match="no header"):
        sign(head=head + line)
    with pytest.raises(OperationError, match="no header"):
        sign(OWN_HEAD + line, head)


@pytest.mark.parametrize("line", [b"To: bob@example.com\r\n", b"subject: Another\r\n"])
def test_a_signed_header_that_stands_twice_is_refused(line: bytes) -> None:
    with pytest.raises(OperationError, match="twice"):
        sign(OWN_HEAD + line)


def test_a_message_from_nobody_is_refused() -> None:
    with pytest.raises(OperationError, match="no From"):
        sign(head=HEAD.replace(b"From:", b"X-From:"))


@pytest.mark.parametrize("body", [b"", b"\r\n", b"no end", b"two ends\r\n\r\n", b"bare\n"])
def test_a_body_that_canonicalization_would_change_at_its_end_is_refused(body: bytes) -> None:
    for cut in range(len(body) + 1):
        prepared = make_signer().prepare(HEAD, body[:cut], domain="example.org", signed_at=AT)
        with pytest.raises(OperationError, match="exactly one CRLF"):
            prepared.sign(OWN_HEAD, [body[cut:]])


@pytest.mark.parametrize(
    "domain", ["news.example.org", "a.news.example.org", "example.org", "News.Example.org"]
)
def test_a_sender_within_the_domain_or_above_it_is_aligned(domain: str) -> None:
    key = DkimKey(domain="news.example.org", selector="s1", private_key=RSA.private_key)
    assert make_signer(key).prepare(HEAD, b"", domain=domain, signed_at=AT).sign(OWN_HEAD, [BODY])


@pytest.mark.parametrize("domain", ["example.net", "badexample.org", "ample.org", ""])
def test_a_sender_that_the_key_does_not_stand_for_is_refused(domain: str) -> None:
    with pytest.raises(OperationError, match=r"example\.org does not stand for mail from"):
        make_signer().prepare(HEAD, b"", domain=domain, signed_at=AT)


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", ".a", "a.", "-a", "a-", "bücher.example", "a;d=b", "a\n", "a" * 64]
)
def test_a_domain_or_selector_that_is_no_dns_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[dkim\] domain: "):
        DkimKey(domain=name, selector="s1", private_key=RSA.private_key)
    with pytest.raises(ConfigurationError, match=r"\[dkim\] selector: "):
        DkimKey(domain="example.org", selector=name, private_key=RSA.private_key)


def test_a_key_shows_nothing_of_its_private_half() -> None:
    assert repr(RSA) == "DkimKey(domain='example.org', selector='rsa-1')"
