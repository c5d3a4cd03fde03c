import asyncio
import gzip
import hashlib
import ssl
import zlib
from functools import partial
from ipaddress import ip_network

import brotli
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.fetch import Fetched, Hop, Link, NotModified, fetch, open_session
from syndicate.errors import FetchError, PrivateAddress
from tests.collect_http_server import answer, http_server

#: The same bytes at any time: what a case is called is made of them.
packed = partial(gzip.compress, mtime=0)

LOOPBACK = [ip_network("127.0.0.0/8")]


def get(answers, path="/feed", *, allow=LOOPBACK, **options):
    """What ``fetch`` gives for a path of a server with these answers, and the server."""

    async def run():
        async with http_server(answers) as server, open_session(user_agent="Test/1", allow=allow) as session:
            return await fetch(session, server.url + path, **options), server

    return asyncio.run(run())


def refused(answers, path="/feed", **options):
    """The error that ``fetch`` raises, and the server."""

    async def run():
        allow = options.pop("allow", LOOPBACK)
        async with http_server(answers) as server, open_session(user_agent="Test/1", allow=allow) as session:
            with pytest.raises(FetchError) as caught:
                await fetch(session, server.url + path, **options)
            assert "\n" not in str(caught.value)
            return caught.value, server

    return asyncio.run(run())


def test_a_document_comes_whole_with_its_validators_as_they_were():
    body = "<rss>é</rss>".encode()
    headers = {"ETag": 'W/"a, b"', "Last_Modified": "sometime", "Content_Type": "application/rss+xml"}
    found, server = get({"/feed": answer(body, **headers)})
    assert found == Fetched(
        url=f"{server.url}/feed",
        final_url=f"{server.url}/feed",
        body=body,
        content_type="application/rss+xml",
        etag='W/"a, b"',
        last_modified="sometime",
        body_hash=hashlib.sha256(body).hexdigest(),
    )
    assert "User-Agent: Test/1" in server.requests[0]
    assert "Cookie" not in server.requests[0]


def test_a_validator_that_is_no_text_is_left_alone_and_text_of_any_kind_is_sent_again():
    assert get({"/feed": answer("x", ETag='"caf\xe9"', Last_Modified="then")})[0].etag == ""
    found, _ = get({"/feed": answer("x", ETag='"café"'.encode().decode("latin-1"))})
    assert found.etag == '"café"'
    _, server = get({"/feed": answer(status=304)}, etag=found.etag)
    assert 'If-None-Match: "café"'.encode().decode("latin-1") in server.requests[0]


def test_validators_go_out_as_they_came_and_304_means_not_modified():
    found, server = get({"/feed": answer(status=304)}, etag='W/"x"', last_modified="sometime")
    assert found == NotModified(url=f"{server.url}/feed")
    assert 'If-None-Match: W/"x"' in server.requests[0]
    assert "If-Modified-Since: sometime" in server.requests[0]


def test_an_unasked_304_is_an_error():
    assert refused({"/feed": answer(status=304)})[0].reason == "http_304"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_without_the_validators_of_the_first_address(status):
    answers = {"/feed": answer(status=status, Location="/new?a=1", Set_Cookie="a=b"), "/new?a=1": answer("x")}
    found, server = get(answers, etag='"x"', last_modified="sometime")
    assert (found.url, found.final_url) == (f"{server.url}/feed", f"{server.url}/new?a=1")
    assert "If-" not in server.requests[1]
    assert "Cookie" not in server.requests[1]


def test_credentials_of_a_url_go_to_its_own_origin_only_and_into_no_message():
    async def run():
        async with (
            http_server({"/last": answer(status=500)}) as away,
            http_server(
                {
                    "/feed": answer(status=302, Location="/near"),
                    "/near": answer(status=302, Location=f"{away.url.replace('://', '://their:own@')}/last"),
                }
            ) as server,
            open_session(user_agent="T", allow=LOOPBACK) as session,
        ):
            url = server.url.replace("://", "://me:secret@") + "/feed"
            with pytest.raises(FetchError) as caught:
                await fetch(session, url)
            return caught.value, server, away

    error, server, away = asyncio.run(run())
    assert ["Authorization" in head for head in server.requests] == [True, True]
    assert "Authorization" not in away.requests[0]
    assert str(error) == f"{server.url}/feed: answered 500"


def test_credentials_are_in_no_url_that_is_handed_back():
    async def run():
        answers = {"/feed": answer(status=301, Location="/new#top"), "/new": answer("x")}
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            url = server.url.replace("://", "://me:secret@") + "/feed"
            return await fetch(session, url), server

    found, server = asyncio.run(run())
    assert found.final_url == found.permanent_url == found.hops[0].url == f"{server.url}/new"


def test_the_way_is_told_and_only_its_first_permanent_part_is_called_permanent():
    answers = {
        "/a": answer(status=301, Location="/b"),
        "/b": answer(status=308, Location="/c"),
        "/c": answer(status=302, Location="/d"),
        "/d": answer(status=301, Location="/e"),
        "/e": answer("x"),
    }
    found, server = get(answers, "/a")
    assert [(hop.status, hop.url.removeprefix(server.url)) for hop in found.hops] == [
        (301, "/b"),
        (308, "/c"),
        (302, "/d"),
        (301, "/e"),
    ]
    assert found.permanent_url == f"{server.url}/c"
    assert get(answers, "/b")[0].permanent_url.endswith("/c")
    assert get(answers, "/c")[0].permanent_url == ""
    assert get(answers, "/e")[0].hops == ()


def test_validators_go_to_the_url_that_gave_them_wherever_it_stands_on_the_way():
    async def run(validators_path):
        answers = {
            "/feed": answer(status=301, Location="/b"),
            "/b": answer(status=304, Cache_Control="max-age=60"),
        }
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            url = f"{server.url}/feed"
            given = {"etag": '"x"', "last_modified": "then", "validators_url": server.url + validators_path}
            try:
                return await fetch(session, url, **given), server
            except FetchError as error:
                return error, server

    found, server = asyncio.run(run("/b"))
    assert found == NotModified(
        url=f"{server.url}/feed",
        hops=(Hop(status=301, url=f"{server.url}/b"),),
        permanent_url=f"{server.url}/b",
        fresh_s=60.0,
    )
    assert "If-None-Match" not in server.requests[0]
    assert 'If-None-Match: "x"' in server.requests[1]
    error, server = asyncio.run(run("/elsewhere"))
    assert error.reason == "http_304"
    assert not any("If-" in head for head in server.requests)


def test_what_is_new_only_is_taken_if_a_version_was_named_and_nothing_else_was_done_to_it():
    delta = answer("<new/>", status=226, IM="feed", ETag='"2"')
    found, server = get({"/feed": delta}, etag='"1"')
    assert found.is_partial
    assert (found.body, found.etag) == (b"<new/>", '"2"')
    assert "A-IM: feed" in server.requests[0]
    assert refused({"/feed": delta}, last_modified="then")[0].reason == "http_226"
    assert refused({"/feed": answer(b"x", status=226, IM="vcdiff, feed")}, etag='"1"')[0].reason == "http_226"
    assert refused({"/feed": answer(b"x", status=226)}, etag='"1"')[0].reason == "http_226"
    assert not get({"/feed": answer("<all/>")}, etag='"1"')[0].is_partial


def test_what_the_head_says_about_hubs_and_caches_comes_along():
    links = (
        '<https://hub.example/>; rel="hub", </feed?a,b>; rel="self alternate", <https://x.example>; rel=next,'
        ' <https://y.example>; rel=hub; anchor="/other", <mailto:a@b.example>; rel=hub'
    )
    found, server = get({"/feed": answer("x", Link=links, Cache_Control="max-age=600", Age="60")})
    assert found.links == (
        Link(rel="hub", url="https://hub.example/"),
        Link(rel="self", url=f"{server.url}/feed?a,b"),
    )
    assert found.fresh_s == 540.0
    assert get({"/feed": answer("x", Link="<http://[bad>; rel=hub")})[0].links == ()


def test_410_is_the_last_word_unless_a_temporary_redirect_led_there():
    end = {"/end": answer(status=410)}
    for status, reason in [(301, "gone"), (308, "gone"), (302, "http_410"), (307, "http_410")]:
        assert refused(end | {"/feed": answer(status=status, Location="/end")})[0].reason == reason


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "bad_redirect"),
        ("gopher://127.0.0.1/x", "bad_redirect"),
        ("data:text/xml,<rss/>", "bad_redirect"),
        ("http://[bad", "bad_redirect"),
        ("", "bad_redirect"),
        ("/feed", "redirect_loop"),
        ("/feed#other", "redirect_loop"),
        ("http://10.0.0.1/", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"),
        ("//[::1]/", "private_address"),
        ("http://127.0.0.1:25/", "bad_port"),
    ],
)
def test_every_hop_is_judged_like_the_first_address(location, reason):
    error, server = refused({"/feed": answer(status=302, Location=location)})
    assert error.reason == reason
    assert server.paths() == ["/feed"]


def test_five_redirects_are_followed_and_six_are_not():
    chain = {f"/{n}": answer(status=302, Location=f"/{n + 1}") for n in range(6)}
    assert get(chain | {"/6": answer("end")}, "/1")[0].body == b"end"
    error, server = refused(chain | {"/6": answer("end")}, "/0")
    assert error.reason == "too_many_redirects"
    assert "/6" not in server.paths()


def test_https_never_leads_to_http_and_an_unknown_certificate_is_an_error():
    async def run():
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with http_server({"/feed": answer("x")}) as plain:
            answers = {"/feed": answer(status=301, Location=f"{plain.url}/feed")}
            async with (
                http_server(answers, tls=context) as secure,
                open_session(user_agent="T", allow=LOOPBACK) as session,
            ):
                with pytest.raises(FetchError) as untrusted:
                    await fetch(session, f"{secure.url}/feed")
                session.connector._ssl = trusting  # as if the authority were one of the system's
                with pytest.raises(FetchError) as downgraded:
                    await fetch(session, f"{secure.url}/feed")
            return untrusted.value, downgraded.value, plain

    untrusted, downgraded, plain = asyncio.run(run())
    assert untrusted.reason == "tls"
    assert downgraded.reason == "bad_redirect"
    assert plain.connections == 0


def test_the_refusal_names_the_url_and_no_address():
    async def run():
        async with open_session(user_agent="T", allow=[]) as session:
            with pytest.raises(PrivateAddress) as caught:
                await fetch(session, "http://localhost:8080/feed")
            return str(caught.value)

    message = asyncio.run(run())
    assert message.startswith("http://localhost:8080/feed: is at a private address")
    assert "127.0.0.1" not in message


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)]
)
def test_a_packed_body_is_unpacked_and_hashed_as_it_was(encoding, pack):
    found, server = get({"/feed": answer(pack(b"words"), Content_Encoding=encoding)})
    assert (found.body, found.body_hash) == (b"words", hashlib.sha256(b"words").hexdigest())
    assert f"{encoding}" in server.requests[0].partition("Accept-Encoding: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (answer(b"\x1f\x8bnonsense", Content_Encoding="gzip"), "bad_encoding"),
        (answer(packed(packed(b"x")), Content_Encoding="gzip, gzip"), "bad_encoding"),
        (answer(b"x", Content_Encoding="compress"), "bad_encoding"),
        (answer(b"half", length=100), "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n", "short_body"),
        (answer(packed(b"x" * 1000)[:-10], length=500, Content_Encoding="gzip"), "short_body"),
        (answer(packed(b"x" * 1000)[:-10], Content_Encoding="gzip"), "short_body"),
        (answer(brotli.compress(b"x" * 1000)[:-2], Content_Encoding="br"), "short_body"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n"
            + packed(packed(b"x")),
            "bad_encoding",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed(b"x" * 99)[:9], "short_body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nwords", "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nwords\r\n0\r\n\r\n", "connection"),
        (answer("words and more", length=5), "connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "connection"),
        (b"", "connection"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx", "connection"),
        (answer(status=404), "http_404"),
        (answer(status=410), "gone"),
        (answer(status=206), "http_206"),
        (answer(status=226), "http_226"),
        (answer(status=500), "http_500"),
    ],
)
def test_whatever_goes_wrong_is_one_of_our_errors(raw, reason):
    assert refused({"/feed": raw})[0].reason == reason


LINE = st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n"))
NAMES = (
    b"ETag Link Location Age IM Content-Encoding Content-Length Content-Type Cache-Control Expires Date "
    b"Retry-After Transfer-Encoding Connection X"
).split()
VALUES = (
    b"gzip|br|deflate|chunked|7|feed|max-age=9|http://[::1]:1/|<x>; rel=hub|<http://[>; rel=self|close|"
    b"upgrade|/feed?a|//x:y@"
).split(b"|")
HEAD = st.tuples(st.sampled_from(NAMES), LINE | st.sampled_from(VALUES)).map(b": ".join)


@given(
    st.sampled_from(
        [b"200 OK", b"226 IM", b"301 To", b"308 To", b"304 As", b"410 No", b"429 Hm", b"100 Go", b""]
    )
    | LINE,
    st.lists(HEAD, max_size=6),
    st.binary(max_size=60) | st.binary(max_size=60).map(gzip.compress),
)
def test_whatever_a_server_sends_is_a_document_or_one_of_our_errors(status, heads, body):
    async def run():
        raw = b"\r\n".join([b"HTTP/1.1 " + status, *heads, b"", body])
        async with (
            http_server({"/feed": raw}) as server,
            open_session(user_agent="T", allow=LOOPBACK) as session,
        ):
            try:
                return await fetch(session, f"{server.url}/feed", etag='"1"', deadline_s=0.5)
            except FetchError as error:
                return error

    found = asyncio.run(run())
    assert isinstance(found, Fetched | NotModified | FetchError)
    if isinstance(found, FetchError):
        assert "\n" not in str(found)
        str(found).encode()


def test_nothing_listens_and_the_message_says_so_without_an_address_from_within():
    async def run():
        async with http_server() as server:
            url = server.url
        async with open_session(user_agent="T", allow=LOOPBACK) as session:
            with pytest.raises(FetchError) as caught:
                await fetch(session, f"{url}/feed")
            return url, caught.value

    url, error = asyncio.run(run())
    assert str(error) == f"{url}/feed: cannot be reached: connection refused"


def test_a_length_beyond_the_limit_is_refused_before_the_body():
    error, _ = refused({"/feed": answer(b"", length=11 * 2**20)})
    assert str(error).endswith("/feed: is larger than 10 MiB")


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("br", partial(brotli.compress, quality=1))]
)
def test_a_packed_bomb_ends_at_the_limit(encoding, pack):
    bomb = pack(bytes(50_000_000))
    error, _ = refused({"/feed": answer(bomb, Content_Encoding=encoding)}, max_bytes=2**20)
    assert error.reason == "too_large"
    assert "1 MiB" in str(error)


def test_a_body_without_end_is_stopped_at_the_limit():
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    assert refused({"/feed": endless}, max_bytes=100_000)[0].reason == "too_large"


def test_a_body_of_exactly_the_limit_is_taken():
    assert len(get({"/feed": answer(b"x" * 1000)}, max_bytes=1000)[0].body) == 1000
    assert refused({"/feed": answer(b"x" * 1001)}, max_bytes=1000)[0].reason == "too_large"


def test_the_deadline_holds_for_the_whole_chain():
    answers = {"/feed": answer(status=302, Location="/slow"), "/slow": hang}
    error, _ = refused(answers, deadline_s=0.2)
    assert error.reason == "timeout"
    assert str(error).endswith("/feed: did not answer within 0.2 s")


async def hang(writer):
    await writer.drain()
    await asyncio.Event().wait()


def drip(head):
    """Sends this much, and then nothing more."""

    async def send(writer):
        writer.write(head)
        await hang(writer)

    return send


async def flood(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


SLOW = {
    "/silent": hang,
    "/slow-head": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "/slow-body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"),
    "/slow-chunk": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
}


@pytest.mark.parametrize("path", SLOW)
def test_who_dawdles_is_left_at_the_deadline(path):
    assert refused(SLOW, path, deadline_s=0.2)[0].reason == "timeout"


def test_fifty_others_are_done_while_the_slow_and_the_endless_are_still_waited_for():
    answers = SLOW | {"/endless": flood} | {f"/{n}": answer(f"feed {n}") for n in range(50)}

    async def run():
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            slow = [asyncio.create_task(fetch(session, server.url + path)) for path in SLOW]
            endless = asyncio.create_task(fetch(session, f"{server.url}/endless", max_bytes=2**20))
            others = await asyncio.gather(*(fetch(session, f"{server.url}/{n}") for n in range(50)))
            still_waiting = [task.cancel() for task in slow]
            await asyncio.wait([*slow, endless])
            return others, still_waiting, endless.exception()

    others, still_waiting, error = asyncio.run(run())
    assert [found.body for found in others] == [f"feed {n}".encode() for n in range(50)]
    assert still_waiting == [True] * len(SLOW)
    assert error.reason == "too_large"


def test_as_many_are_asked_at_once_as_the_caller_likes():
    async def run():
        everybody = asyncio.Barrier(150)

        async def answer_together(writer):
            await everybody.wait()
            writer.write(answer("x"))

        async with (
            http_server({"/feed": answer_together}) as server,
            open_session(user_agent="T", allow=LOOPBACK) as session,
        ):
            return await asyncio.gather(*(fetch(session, f"{server.url}/feed") for _ in range(150)))

    assert len(asyncio.run(run())) == 150


def test_a_body_in_slices_of_one_byte_is_whole():
    async def slices(writer):
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwords":
            writer.write(bytes([byte]))
            await writer.drain()

    assert get({"/feed": slices})[0].body == b"words"


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry_After": "120"}, 120.0),
        (503, {"Retry_After": "120"}, 120.0),
        (
            503,
            {"Retry_After": "Thu, 08 Feb 2024 11:00:00 GMT", "Date": "Thu, 08 Feb 2024 10:00:00 GMT"},
            3600.0,
        ),
        (
            503,
            {"Retry_After": "Thu, 08 Feb 2024 09:00:00 GMT", "Date": "Thu, 08 Feb 2024 10:00:00 GMT"},
            60.0,
        ),
        (503, {"Retry_After": "Thu, 08 Feb 2024 11:00:00 GMT"}, None),
        (503, {"Retry_After": "soon"}, None),
        (503, {"Retry_After": "-5"}, None),
        (503, {"Retry_After": "9" * 400}, None),
        (503, {}, None),
        (500, {"Retry_After": "120"}, None),
    ],
)
def test_what_the_server_asks_us_to_wait_comes_with_the_error(status, headers, wait):
    error, _ = refused({"/feed": answer(status=status, **headers)})
    assert error.retry_after_s == wait
    assert str(error).endswith(f"/feed: answered {status}")
