"""The preferences page of one reader, by the signed link in each mail."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from subscribers.model import SubscriptionStatus
from syndicate.publish.cards import PreferencesForm
from syndicate.service.archive import page_renderer
from syndicate.service.installation import Installation
from syndicate.service.subscribing import FormProblems, Membership, change_preferences, find_membership
from syndicate.web.forms import choices, field, installation, private_page, read_form, remote_address

__all__ = ["ROUTES"]


def preferences_edit(request: Request) -> Response:
    """The form with what is chosen now."""
    inst, token = installation(request), request.path_params["token"]
    member = find_membership(inst, inst.links.read_preferences(token))
    return private_page(_form(inst, token, member, {}))


async def preferences_save(request: Request) -> Response:
    """Stores what was chosen."""
    inst, token = installation(request), request.path_params["token"]
    form = await read_form(request)
    try:
        saved = await run_in_threadpool(
            change_preferences,
            inst,
            token,
            name=field(form, "name"),
            choices=choices(form),
            proof=remote_address(request),
        )
    except FormProblems as error:
        member = await run_in_threadpool(find_membership, inst, inst.links.read_preferences(token))
        return private_page(_form(inst, token, member, error.problems), 422)
    html = page_renderer(inst).preferences_saved(
        saved.newsletter, preferences_url=inst.urls.preferences(token)
    )
    return private_page(html)


def _form(inst: Installation, token: str, member: Membership, problems: Mapping[str, str]) -> str:
    return page_renderer(inst).preferences(
        member.newsletter,
        PreferencesForm(
            email=member.subscriber.email,
            is_active=member.subscription.status is SubscriptionStatus.ACTIVE,
            name=member.subscriber.name,
            cadence=member.subscription.cadence,
            topics=frozenset(member.subscription.topics),
        ),
        action_url=inst.urls.preferences(token),
        unsubscribe_url=inst.urls.unsubscribe(inst.links.unsubscribe(member.subscription.id)),
        problems=problems,
    )


ROUTES: list[BaseRoute] = [
    Route("/preferences/{token}", preferences_edit, methods=["GET"]),
    Route("/preferences/{token}", preferences_save, methods=["POST"]),
]
