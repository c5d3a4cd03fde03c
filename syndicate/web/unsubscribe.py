"""Unsubscribing: by the page that the mail's link opens, and by the one click of RFC 8058."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from subscribers.model import ConsentMethod
from syndicate.service.archive import page_renderer
from syndicate.service.subscribing import find_membership, unsubscribe
from syndicate.web.forms import field, installation, private_page, read_form, remote_address

__all__ = ["ROUTES"]


def subscription_leave_ask(request: Request) -> Response:
    """The page with the button; changes nothing (RFC 8058 section 3.2)."""
    inst, token = installation(request), request.path_params["token"]
    member = find_membership(inst, inst.links.read_unsubscribe(token))
    html = page_renderer(inst).unsubscribe_ask(
        member.newsletter,
        action_url=inst.urls.unsubscribe(token),
        preferences_url=inst.urls.preferences(inst.links.preferences(member.subscription.id)),
    )
    return private_page(html)


async def subscription_leave(request: Request) -> Response:
    """Ends the subscription, without cookies and without a redirect (RFC 8058 section 3.1)."""
    inst, token = installation(request), request.path_params["token"]
    form = await read_form(request)
    # A form that says nothing is a click all the same: nobody posts here who does not want to leave.
    is_one_click = field(form, "List-Unsubscribe") == "One-Click"
    method = ConsentMethod.ONE_CLICK if is_one_click else ConsentMethod.UNSUBSCRIBE_PAGE
    done = await run_in_threadpool(unsubscribe, inst, token, method=method, proof=remote_address(request))
    return private_page(page_renderer(inst).unsubscribe_done(done.newsletter))


ROUTES: list[BaseRoute] = [
    Route("/unsubscribe/{token}", subscription_leave_ask, methods=["GET"]),
    Route("/unsubscribe/{token}", subscription_leave, methods=["POST"]),
]
