"""The subscribe form: it queues a confirmation mail, and answers everybody alike."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from subscribers.model import Cadence
from syndicate.publish.cards import SubscribeForm
from syndicate.service.archive import page_renderer
from syndicate.service.newsletters import get_newsletter
from syndicate.service.subscribing import FormProblems, subscribe
from syndicate.web.forms import choices, field, installation, private_page, read_form, remote_address

__all__ = ["ROUTES"]


async def subscription_request(request: Request) -> Response:
    """The same page for an address that is known and one that is not."""
    inst, slug = installation(request), request.path_params["slug"]
    form = await read_form(request)
    newsletter = await run_in_threadpool(get_newsletter, inst, slug)
    pages = page_renderer(inst)
    try:
        await run_in_threadpool(
            subscribe,
            inst,
            slug,
            email=field(form, "email"),
            name=field(form, "name"),
            choices=choices(form),
            proof=remote_address(request),
        )
    except FormProblems as error:
        again = SubscribeForm(
            email=field(form, "email")[:254],
            name=field(form, "name")[:200],
            cadence=next((c for c in Cadence if c == field(form, "cadence")), None),
            topics=frozenset(choices(form)["topics"]),
        )
        return private_page(pages.subscribe_problem(newsletter, again, error.problems), 422)
    return private_page(pages.subscribe_received(newsletter))


ROUTES: list[BaseRoute] = [Route("/{slug}/subscribe", subscription_request, methods=["POST"])]
