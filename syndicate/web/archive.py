"""The archive: front page, newsletters, topics, articles, editions."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from syndicate.service import archive
from syndicate.web.forms import installation

__all__ = ["ROUTES"]


class _NumberConvertor(Convertor[int]):
    """A number that a database can hold; Starlette's own ``int`` takes any, and the query fails."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _NumberConvertor())


def home_show(request: Request) -> Response:
    """The site's newsletters."""
    return _public(archive.home_page(installation(request)))


def newsletter_show(request: Request) -> Response:
    """A newsletter's front page, or a further page of its articles."""
    inst, path = installation(request), request.path_params
    return _public(archive.newsletter_page(inst, path["slug"], path.get("number", 1)))


def topic_show(request: Request) -> Response:
    """What a newsletter has on one topic."""
    inst, path = installation(request), request.path_params
    return _public(archive.topic_page(inst, path["slug"], path["topic"], path.get("number", 1)))


def article_show(request: Request) -> Response:
    """One article; its number finds it, and an old wording of its address leads to the new one."""
    inst, path = installation(request), request.path_params
    html, canonical = archive.article_page(inst, path["slug"], path["article_id"])
    if request.scope["path"] != unquote(canonical):  # the server has decoded it already
        return RedirectResponse(canonical, status_code=301)
    return _public(html)


def editions_show(request: Request) -> Response:
    """A newsletter's editions."""
    inst, path = installation(request), request.path_params
    return _public(archive.editions_page(inst, path["slug"], path.get("number", 1)))


def edition_show(request: Request) -> Response:
    """One edition on the web."""
    inst, path = installation(request), request.path_params
    return _public(archive.edition_page(inst, path["slug"], path["edition_id"]))


def _public(html: str) -> Response:
    return HTMLResponse(html, headers={"Cache-Control": "max-age=60, stale-while-revalidate=300"})


ROUTES: list[BaseRoute] = [
    Route("/", home_show),
    Route("/{slug}/", newsletter_show),
    Route("/{slug}/page/{number:number}/", newsletter_show),
    Route("/{slug}/topics/{topic}/", topic_show),
    Route("/{slug}/topics/{topic}/page/{number:number}/", topic_show),
    Route("/{slug}/articles/{article_id:number}-{words}", article_show),
    Route("/{slug}/editions/", editions_show),
    Route("/{slug}/editions/page/{number:number}/", editions_show),
    Route("/{slug}/editions/{edition_id:number}", edition_show),
]
