import asyncio
import gzip
from ipaddress import ip_network

import pytest

from syndicate.collect.fetch import open_session, request
from syndicate.errors import FetchError, PrivateAddress
from tests.collect_http_server import HttpServer, answer, http_server

LOOPBACK = [ip_network("127.0.0.0/8")]


class WithBodies(HttpServer):
    """A server that keeps the bodies of the requests too."""

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), b"0"
        )
        body = await reader.readexactly(int(length))
        self.requests.append((head + body).decode("latin-1"))
        writer.write(self.answers[head.decode().split(" ")[1]])
        writer.close()


def ask(raw, method="GET", *, allow=LOOPBACK, **options):
    """What ``request`` gives (or the error that it raises), and what the server got."""

    async def run():
        here = WithBodies({"/": raw})
        server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, open_session(user_agent="Test/1", allow=allow) as session:
            try:
                return await request(session, method, url, **options), here.requests
            except FetchError as error:
                return error, here.requests

    return asyncio.run(run())


def test_a_mapping_goes_out_as_a_form_and_bytes_as_they_are():
    accepted = answer("queued", status=202)
    found, requests = ask(
        accepted, "POST", data={"hub.mode": "subscribe", "hub.topic": "https://a.example/?b&c"}
    )
    assert (found.status, found.body) == (202, b"queued")
    assert "Content-Type: application/x-www-form-urlencoded" in requests[0]
    assert requests[0].endswith("\r\n\r\nhub.mode=subscribe&hub.topic=https%3A%2F%2Fa.example%2F%3Fb%26c")
    headers = {"Content-Type": "application/atom+xml", "X-Hub-Signature": "sha256=0"}
    _, requests = ask(accepted, "POST", data=b"<feed/>", headers=headers)
    assert "X-Hub-Signature: sha256=0" in requests[0]
    assert "User-Agent: Test/1" in requests[0]
    assert requests[0].endswith("\r\n\r\n<feed/>")


@pytest.mark.parametrize("status", [200, 204, 301, 304, 307, 400, 404, 410, 429, 500, 503])
def test_every_status_is_an_answer_and_no_redirect_is_followed(status):
    found, requests = ask(
        answer(status=status, Location="/", Retry_After="120", X_Note="n"), "POST", data=b"x"
    )
    assert found.status == status
    assert found.headers["x-note"] == "n"
    assert found.retry_after_s == 120.0
    assert len(requests) == 1


def test_the_body_of_an_answer_is_unpacked_within_its_limit():
    assert ask(answer(gzip.compress(b"words"), Content_Encoding="gzip"))[0].body == b"words"
    bomb = answer(gzip.compress(bytes(10_000)), Content_Encoding="gzip")
    assert ask(bomb, max_bytes=9_999)[0].reason == "too_large"
    assert ask(answer(b"half", length=99))[0].reason == "short_body"


def test_the_guard_and_the_deadline_hold_for_every_method():
    assert type(ask(answer(), "POST", data=b"x", allow=[])[0]) is PrivateAddress

    async def silent(_writer):
        await asyncio.Event().wait()

    async def run():
        async with (
            http_server({"/": silent}) as server,
            open_session(user_agent="T", allow=LOOPBACK) as session,
        ):
            url = server.url.replace("://", "://me:secret@") + "/"
            with pytest.raises(FetchError) as caught:
                await request(session, "POST", url, data=b"x", deadline_s=0.2)
            return caught.value

    error = asyncio.run(run())
    assert error.reason == "timeout"
    assert "secret" not in str(error)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "//127.0.0.1/", "nothing", "http://[bad"])
def test_what_is_no_web_address_is_refused(url):
    async def run():
        async with open_session(user_agent="T") as session:
            with pytest.raises(FetchError) as caught:
                await request(session, "POST", url)
            return caught.value.reason

    assert asyncio.run(run()) == "bad_url"
