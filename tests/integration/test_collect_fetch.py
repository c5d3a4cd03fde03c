import asyncio
import gzip
import hashlib
import ssl
import zlib
from ipaddress import ip_network

import pytest
import trustme
from aiohttp.abc import AbstractResolver

from syndicate.collect.fetch import Fetched, NotModified, fetch, open_session
from syndicate.errors import FetchError, PrivateAddress
from tests.collect_http_server import answer, http_server

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


def test_credentials_of_the_first_address_go_nowhere_else_and_into_no_message():
    async def run():
        answers = {"/feed": answer(status=302, Location="/new"), "/new": answer(status=500)}
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            url = server.url.replace("://", "://me:secret@") + "/feed"
            with pytest.raises(FetchError) as caught:
                await fetch(session, url)
            return caught.value, server

    error, server = asyncio.run(run())
    assert "Authorization" in server.requests[0]
    assert "Authorization" not in server.requests[1]
    assert "secret" not in str(error)
    assert str(error) == f"{server.url}/feed: answered 500"


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


FORMS = """
http://127.0.0.1:{p}/ http://127.1:{p}/ http://2130706433:{p}/ http://0177.0.0.1:{p}/ http://0x7f.1:{p}/
http://0x7f000001:{p}/ http://0:{p}/ http://0.0.0.0:{p}/ http://127.0.0.1.:{p}/ http://127.8.9.1:{p}/
http://localhost:{p}/ http://LOCALHOST:{p}/ http://localhost.:{p}/ http://good@127.0.0.1:{p}/
http://good.example@127.0.0.1:{p}/ http://a:b@127.0.0.1:{p}/ http://１２７.0.0.1:{p}/ http://①②⑦.0.0.1:{p}/
http://127。0。0。1:{p}/ http://[::1]:{p}/ http://[::]:{p}/ http://[::ffff:127.0.0.1]:{p}/ http://[::ffff:7f00:1]:{p}/
http://[0:0:0:0:0:ffff:7f00:1]:{p}/ http://[64:ff9b::7f00:1]:{p}/ http://[64:ff9b:1::7f00:1]:{p}/
http://[::127.0.0.1]:{p}/ http://[2002:7f00:1::]:{p}/ http://[fe80::1%25lo]:{p}/ http://[fe80::1%lo]:{p}/
http://[fec0::1]:{p}/ http://[fd00::1]:{p}/ http://[ff02::1]:{p}/ http://10.0.0.1:{p}/ http://169.254.169.254:{p}/
http://[::ffff:a9fe:a9fe]:{p}/ http://100.64.0.1:{p}/ http://192.88.99.1:{p}/ http://224.0.0.1:{p}/
http://127.0.0.1:{p}\\@good.example/ http://127.0.0.1:{p}#@good.example/ http://127.0.0.1:{p}?@good.example/
http:127.0.0.1:{p}/ http:///127.0.0.1:{p}/ //127.0.0.1:{p}/ 127.0.0.1:{p}/ file://127.0.0.1/etc/passwd
file:///etc/passwd ftp://127.0.0.1:{p}/ gopher://127.0.0.1:{p}/ dict://127.0.0.1:{p}/ data:text/xml,<rss/>
unix:///run/x.sock javascript:1 http:// https:// http://: http://[ http://127.0.0.1:999999/ http://127.0.0.1:x/
http://%31%32%37.0.0.1:{p}/ http://127.0.0.1%00.example:{p}/ http://%00/ http://xn--:{p}/ http://.:{p}/
"""


@pytest.mark.parametrize("form", FORMS.split())
def test_no_way_to_write_an_inner_address_reaches_it(form):
    async def run():
        async with (
            http_server({"/": answer("x")}) as canary,
            open_session(user_agent="T", allow=[]) as session,
        ):
            url = form.replace("{p}", canary.url.rpartition(":")[2])
            with pytest.raises(FetchError) as caught:
                await fetch(session, url)
            return caught.value, canary

    error, canary = asyncio.run(run())
    assert canary.connections == 0
    assert error.reason in {"private_address", "bad_url", "dns"}


def test_the_refusal_names_the_url_and_no_address():
    async def run():
        async with open_session(user_agent="T", allow=[]) as session:
            with pytest.raises(PrivateAddress) as caught:
                await fetch(session, "http://localhost:8080/feed")
            return str(caught.value)

    message = asyncio.run(run())
    assert message.startswith("http://localhost:8080/feed: is at a private address")
    assert "127.0.0.1" not in message


class Names(AbstractResolver):
    """A name server whose answers change with each question."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=0):  # noqa: ARG002 - as the library calls it
        addresses = self.answers.pop(0)
        return [
            {"hostname": host, "host": a, "port": port, "family": 2, "proto": 0, "flags": 0}
            for a in addresses
        ]

    async def close(self):
        pass


def test_a_name_that_changes_its_answer_reaches_only_what_may_be_dialled():
    # 127.0.0.2 stands for a public address, 127.0.0.1 for an inner one.
    async def run():
        allow = [ip_network("127.0.0.2")]
        async with (
            http_server({"/feed": answer("x")}) as canary,
            open_session(user_agent="T", allow=allow) as session,
        ):
            session.connector._use_dns_cache = False
            session.connector._resolver = Names(["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"])
            url = canary.url.replace("127.0.0.1", "rebinding.example") + "/feed"
            errors = []
            for _ in range(3):
                with pytest.raises(FetchError) as caught:
                    await fetch(session, url)
                errors.append(caught.value)
            return errors, canary.connections

    errors, connections = asyncio.run(run())
    assert connections == 0
    assert errors[0].reason == "connection"
    assert [type(error) for error in errors[1:]] == [PrivateAddress, PrivateAddress]


def test_a_name_with_two_inner_addresses_is_still_called_private():
    async def run():
        async with open_session(user_agent="T", allow=[]) as session:
            session.connector._resolver = Names(["127.0.0.1", "127.0.0.2", "10.0.0.1"])
            with pytest.raises(PrivateAddress):
                await fetch(session, "http://two.example/")

    asyncio.run(run())


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_body_is_unpacked(encoding):
    packed = gzip.compress(b"words") if encoding == "gzip" else zlib.compress(b"words")
    assert get({"/feed": answer(packed, Content_Encoding=encoding)})[0].body == b"words"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (answer(b"\x1f\x8bnonsense", Content_Encoding="gzip"), "bad_encoding"),
        (answer(gzip.compress(gzip.compress(b"x")), Content_Encoding="gzip, gzip"), "bad_encoding"),
        (answer(b"x", Content_Encoding="compress"), "bad_encoding"),
        (answer(b"half", length=100), "short_body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n", "short_body"),
        (answer(gzip.compress(b"x" * 1000)[:-10], length=500, Content_Encoding="gzip"), "short_body"),
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


def test_a_packed_bomb_ends_at_the_limit():
    bomb = gzip.compress(b"\0" * 50_000_000)
    error, _ = refused({"/feed": answer(bomb, Content_Encoding="gzip")}, max_bytes=2**20)
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
    async def silent(writer):
        await writer.drain()
        await asyncio.Event().wait()

    answers = {"/feed": answer(status=302, Location="/slow"), "/slow": silent}
    error, _ = refused(answers, deadline_s=0.2)
    assert error.reason == "timeout"
    assert str(error).endswith("/feed: did not answer within 0.2 s")


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
        (503, {"Retry_After": "Thu, 08 Feb 2024 09:00:00 GMT", "Date": "Thu, 08 Feb 2024 10:00:00 GMT"}, 0.0),
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
