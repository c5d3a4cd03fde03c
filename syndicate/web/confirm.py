"""Confirming a subscription: opening the link asks, the button does. Scanners open every link."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from syndicate.service.archive import page_renderer
from syndicate.service.subscribing import confirm, find_confirmable
from syndicate.web.forms import installation, private_page, remote_address

__all__ = ["ROUTES"]


def confirmation_ask(request: Request) -> Response:
    """The page with the button; changes nothing."""
    inst, token = installation(request), request.path_params["token"]
    asked = find_confirmable(inst, token)
    return private_page(
        page_renderer(inst).confirm_ask(asked.newsletter, action_url=inst.urls.confirm(token))
    )


def confirmation_accept(request: Request) -> Response:
    """Makes the subscription active; doing it again changes nothing."""
    inst, token = installation(request), request.path_params["token"]
    done = confirm(inst, token, proof=remote_address(request))
    preferences_url = inst.urls.preferences(inst.links.preferences(done.subscription.id))
    return private_page(page_renderer(inst).confirm_done(done.newsletter, preferences_url=preferences_url))


ROUTES: list[BaseRoute] = [
    Route("/confirm/{token}", confirmation_ask, methods=["GET"]),
    Route("/confirm/{token}", confirmation_accept, methods=["POST"]),
]
