"""The web application: routes, security headers, and one map from errors to pages.

Plain routes for feeds and pages: a FastAPI route costs twice as much. Every use case runs in a thread, so a
database call never holds up the event loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route

from subscribers.errors import ExpiredLink, InvalidLink, VoidLink
from syndicate import __version__
from syndicate.errors import NotFound, TemplateError, UsageError
from syndicate.service.archive import page_renderer
from syndicate.service.installation import Installation
from syndicate.web import (
    archive,
    confirm,
    feeds,
    health,
    media,
    postbox,
    preferences,
    static,
    subscribe,
    unsubscribe,
    websub,
)
from syndicate.web.limits import BodyLimit
from syndicate.web.security import SecurityHeaders, add_security_headers

__all__ = ["create_app"]

_log = structlog.get_logger(__name__)

_TITLES: Final = {
    400: ("That did not work", "The address or the form has something in it that does not belong there."),
    404: ("Not found", "There is nothing at this address. It may have moved, or the link was cut off."),
    405: ("That did not work", "This address does not take that kind of request."),
    413: ("Too much", "What was sent is larger than any form here needs."),
    500: ("Our mistake", "Something went wrong here. It has been noted; please try again later."),
}


def create_app(inst: Installation, *, postbox_folder: Path | None = None) -> FastAPI:
    """The application for an installation; with ``postbox_folder`` it shows an embedded mailbox, too."""
    prefix = unquote(urlsplit(inst.settings.site.url).path.rstrip("/"))  # the server decodes what it gets
    routes: list[BaseRoute] = [
        *health.ROUTES,
        *static.ROUTES,
        *media.ROUTES,
        *confirm.ROUTES,
        *preferences.ROUTES,
        *unsubscribe.ROUTES,
        *websub.ROUTES,
        *(postbox.ROUTES if postbox_folder is not None else []),
        *feeds.ROUTES,
        *subscribe.ROUTES,
        *archive.ROUTES,
    ]
    app = FastAPI(
        title="Syndicate",
        version=__version__,
        routes=[Mount(prefix, routes=routes)] if prefix else routes,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={
            NotFound: _not_found,
            UsageError: _bad_request,
            InvalidLink: _link_problem,
            HTTPException: _http_error,
            Exception: _our_mistake,
        },
    )
    app.state.inst = inst
    app.state.postbox_folder = postbox_folder
    app.state.routes = routes
    app.add_middleware(BodyLimit, larger={f"{prefix}/websub/": websub.PUSH_BYTES})
    app.add_middleware(SecurityHeaders)
    return app


def _page(request: Request, status: int, text: str = "") -> Response:
    title, default = _TITLES.get(status, _TITLES[400 if status < 500 else 500])
    html = page_renderer(request.app.state.inst).error(status, title, text or default)
    return HTMLResponse(html, status_code=status)


async def _not_found(request: Request, _error: Exception) -> Response:
    return _page(request, 404)


async def _bad_request(request: Request, error: Exception) -> Response:
    return _page(request, 400, f"{error}.")


async def _http_error(request: Request, error: Exception) -> Response:
    response = _page(request, error.status_code if isinstance(error, HTTPException) else 500)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed_methods(request))
    return response


def _allowed_methods(request: Request) -> list[str]:
    # RFC 9110 section 15.5.6 wants all that the address takes; the router names those of the first route.
    found = (r for r in request.app.state.routes if r.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in found if isinstance(route, Route) for method in route.methods or ()})


async def _link_problem(request: Request, error: Exception) -> Response:
    is_expired = isinstance(error, ExpiredLink | VoidLink)
    html = page_renderer(request.app.state.inst).link_problem(is_expired=is_expired)
    return HTMLResponse(html, status_code=410 if is_expired else 404)


async def _our_mistake(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, error=repr(error))
    try:
        response = _page(request, 500)
    except TemplateError:  # it may be the very mistake that brought us here
        response = PlainTextResponse("Something went wrong here; please try again later.", status_code=500)
    add_security_headers(response.headers)  # this answer goes out past every middleware
    return response
