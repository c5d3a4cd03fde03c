"""Rules for every address that the application answers, taken from its own table of routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from starlette.routing import Mount, Route

from syndicate.deliver.postbox import list_messages
from syndicate.service.media import keep_image
from syndicate.settings import SiteSettings
from syndicate.storage.newsletters import remove_newsletter
from syndicate.web import app as web_app
from syndicate.web.security import CONTENT_SECURITY_POLICY
from tests.web_site import SLUG, Website, open_website

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: These two show a mail, which brings its own styles, in a frame.
FRAMED = {"/postbox/{key}", "/postbox/{key}/{part}"}
PURPOSES = ("confirm", "preferences", "unsubscribe")


def routes(website: Website) -> Iterator[Route]:
    """All but the callbacks of hubs, which are no pages and have tests of their own."""
    for route in website.app().routes:
        for inner in route.routes if isinstance(route, Mount) else [route]:
            assert isinstance(inner, Route), inner
            if not inner.path.startswith("/websub/"):
                yield inner


def paths(website: Website, route: Route) -> list[str]:
    """Addresses that a route answers. A parameter that is not listed here fails: a new route needs a line."""
    tokens = {
        "/confirm/{token}": website.confirm_path("pia@example.com").rpartition("/")[2],
        "/preferences/{token}": website.preferences_path("ada@example.com").rpartition("/")[2],
        "/unsubscribe/{token}": website.unsubscribe_path("ada@example.com").rpartition("/")[2],
    }
    image = f"{'0' * 64}.png"
    keep_image(website.inst, image, b"an image")
    names = {"/media/{name}": image}
    values = {
        "slug": SLUG,
        "topic": "night-sky",
        "number": "1",
        "article_id": "1",
        "words": "why-the-tide-comes-twice",
        "edition_id": "1",
        "name": names.get(route.path, "site.css"),
        "key": list_messages(website.mails)[0].key,
        "token": tokens.get(route.path, ""),
    }
    parts = ["html", "text", "source"] if "{part}" in route.path else [""]
    return [
        re.sub(
            r"\{(\w+)(?::\w+)?\}", lambda found, part=part: (values | {"part": part})[found[1]], route.path
        )
        for part in parts
    ]


def gets(website: Website) -> list[tuple[Route, str]]:
    return [(r, p) for r in routes(website) if "GET" in (r.methods or ()) for p in paths(website, r)]


def posts(website: Website) -> list[tuple[Route, str]]:
    return [(r, p) for r in routes(website) if "POST" in (r.methods or ()) for p in paths(website, r)]


def test_every_address_works_and_carries_every_security_header(website: Website) -> None:
    web = website.client()
    for route, path in gets(website):
        for method in ("GET", "HEAD"):
            answer = web.request(method, path)
            assert answer.status_code == 200, (method, path)
            expected = {n: v for n, v in HEADERS.items() if route.path not in FRAMED or "Frame" not in n}
            if route.path in FRAMED:
                assert "script-src" not in answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                del expected["Content-Security-Policy"]
            assert {n: answer.headers.get(n) for n in expected} == expected, (method, path)
            assert "set-cookie" not in answer.headers


def test_a_page_says_how_long_it_may_be_kept_and_a_private_one_that_it_may_not(website: Website) -> None:
    web = website.client()
    for route, path in gets(website):
        if not route.path.startswith("/healthz"):
            kept = web.get(path).headers.get("Cache-Control", "")
            is_private = route.path.startswith(("/confirm", "/preferences", "/unsubscribe", "/postbox"))
            assert "no-store" in kept if is_private else "max-age=" in kept, (path, kept)


def test_getting_every_page_changes_no_row(website: Website) -> None:
    web, before = website.client(), website.dump()
    assert before["subscriber"], "there is something to change"
    robots = {"User-Agent": "Mozilla/5.0 (compatible; LinkScanner/1.0)", "Accept": "*/*"}
    for _route, path in gets(website):
        for method in ("GET", "HEAD", "OPTIONS"):
            web.request(method, path, headers=robots)
    for _route, path in posts(website):
        web.get(path)
    assert website.dump() == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"])
def test_a_method_that_an_address_does_not_take_is_told_those_that_it_takes(
    website: Website, method: str
) -> None:
    web = website.client()
    taken: dict[str, set[str]] = {}
    for route in routes(website):
        for path in paths(website, route):
            taken.setdefault(path, set()).update(route.methods or ())
    asked = [path for path, methods in taken.items() if method not in methods]
    assert asked
    for path in asked:
        answer = web.request(method, path)
        assert answer.status_code == 405, path
        assert set(answer.headers["Allow"].split(", ")) == taken[path], path
        assert_page(answer)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("made_for", PURPOSES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_opens_only_what_it_was_made_for(
    website: Website, purpose: str, made_for: str, method: str
) -> None:
    own = {
        "confirm": website.confirm_path("pia@example.com"),
        "preferences": website.preferences_path("ada@example.com"),
        "unsubscribe": website.unsubscribe_path("ada@example.com"),
    }
    with_token = {r.path.split("/")[1] for r in routes(website) if "{token}" in r.path}
    assert with_token == set(PURPOSES), "a route with a token that this test does not know"
    before = website.dump()
    answer = website.client().request(method, f"/{purpose}/{own[made_for].rpartition('/')[2]}")
    if purpose == made_for:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 404
        assert website.dump() == before


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_token_that_was_damaged_or_made_up_opens_nothing(website: Website, purpose: str) -> None:
    whole = {
        "confirm": website.confirm_path("pia@example.com"),
        "preferences": website.preferences_path("ada@example.com"),
        "unsubscribe": website.unsubscribe_path("ada@example.com"),
    }[purpose].rpartition("/")[2]
    flipped = [whole[:i] + ("A" if whole[i] != "A" else "B") + whole[i + 1 :] for i in range(len(whole))]
    cut = [whole[:-1], whole + "A", whole.upper(), f"{whole}%20", f"%20{whole}", f"{whole}%00", f"{whole}="]
    made_up = ["x", "1", "1.2.3", "%F0%9F%8C%8A", "1." + "A" * 43, "9" * 5000 + "." + "A" * 43, "'--"]
    web, before = website.client(), website.dump()
    for token in (*flipped, *cut, *made_up):
        for method in ("GET", "POST"):
            answer = web.request(method, f"/{purpose}/{token}")
            assert answer.status_code == 404, (method, token)
            assert "example.com" not in answer.text
    assert website.dump() == before


def assert_page(answer: Any) -> None:
    """A whole page of ours, in HTML and with the headers that every page has."""
    tree = html.document_fromstring(answer.text)
    assert len(tree.xpath("//main//h1")) == 1
    assert tree.get("lang") == "en"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert {n: answer.headers.get(n) for n in HEADERS} == HEADERS


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing-here/", 404),
        ("GET", f"/{SLUG}/feed.rss", 404),
        ("GET", "/nothing-here/feed.xml", 404),
        ("GET", f"/{SLUG}/topics/dragons/", 404),
        ("GET", f"/{SLUG}/topics/dragons/atom.xml", 404),
        ("GET", f"/{SLUG}/page/0/", 404),
        ("GET", f"/{SLUG}/page/2/", 404),
        ("GET", f"/{SLUG}/page/{'9' * 30}/", 404),
        ("GET", f"/{SLUG}/page/{'9' * 5000}/", 404),
        ("GET", f"/{SLUG}/articles/99-x", 404),
        ("GET", f"/{SLUG}/articles/{'9' * 18}-x", 404),
        ("GET", f"/{SLUG}/articles/{'9' * 30}-x", 404),
        ("GET", f"/{SLUG}/editions/2", 404),
        ("GET", f"/{SLUG}/editions/{'9' * 30}", 404),
        ("GET", "/static/site.js", 404),
        ("GET", "/static/..%2fbase.html", 404),
        ("GET", "/postbox/nothing", 404),
        ("GET", "/postbox/..%2f..%2fsite.db", 404),
        ("GET", "/postbox/..%2f..%2fsite.db/source", 404),
        ("GET", "/%00/", 404),
        ("GET", "/%ff%fe/", 404),
        ("POST", "/nothing-here/subscribe", 404),
        ("DELETE", f"/{SLUG}/", 405),
    ],
)
def test_what_is_not_there_is_a_page_of_its_own(
    website: Website, method: str, path: str, status: int
) -> None:
    answer = website.client().request(method, path)
    assert answer.status_code == status
    assert_page(answer)


def test_a_mistake_of_ours_is_a_page_with_every_header(
    website: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object) -> str:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(web_app.archive.archive, "home_page", fails)
    answer = website.client(raise_server_exceptions=False).get("/")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert_page(answer)


def test_a_broken_template_still_gets_an_answer_with_every_header(website: Website, tmp_path: Path) -> None:
    own = tmp_path / "own" / "web"
    own.mkdir(parents=True)
    (own / "base.html").write_text("{{ nobody.knows }}", encoding="utf-8")
    site = SiteSettings(title="Harbour News", url="https://news.example.org", templates=Path("own"))
    settings = website.inst.settings.model_copy(update={"site": site})
    broken = replace(website, inst=replace(website.inst, settings=settings))
    answer = broken.client(raise_server_exceptions=False).get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert {n: answer.headers.get(n) for n in HEADERS} == HEADERS
    assert "nobody" not in answer.text


def test_a_link_of_a_newsletter_that_was_removed_is_no_mistake_of_ours(website: Website) -> None:
    path = website.unsubscribe_path("ada@example.com")
    with website.inst.engine.begin() as conn:
        remove_newsletter(conn, website.newsletter.id)
    answer = website.client().get(path)
    assert answer.status_code == 404


@pytest.mark.parametrize("prefix", ["/read", "/a/b%20c"])
def test_a_site_below_a_path_answers_there_and_every_link_stays_there(
    built_site: Path, tmp_path: Path, prefix: str
) -> None:
    with open_website(built_site, tmp_path, url=f"https://example.org{prefix}/") as website:
        web = website.client()
        waiting, seen = [website.inst.urls.home(), website.preferences_path("ada@example.com")], set()
        waiting.append(website.inst.urls.postbox())
        while waiting:
            path = waiting.pop()
            seen.add(path)
            answer = web.get(f"https://example.org{path}")
            assert answer.status_code == 200, path
            if "text/html" not in answer.headers["content-type"] or path.endswith("/html"):
                continue
            for link in html.document_fromstring(answer.text).xpath("//@href | //@src"):
                if link.startswith(("#", "https://", "mailto:")):
                    continue
                assert link.startswith(f"{prefix}/"), (path, link)
                target = link.partition("#")[0]
                if target not in seen and target not in waiting:
                    waiting.append(target)
        assert len(seen) > 40
        assert web.get("https://example.org/").status_code == 404
        found = web.post(f"https://example.org{website.inst.urls.subscribe(SLUG)}", data={"email": "x"})
        assert found.status_code == 422
        assert web.put(f"https://example.org{website.confirm_path('pia@example.com')}").headers["Allow"] == (
            "GET, HEAD, POST"
        )
