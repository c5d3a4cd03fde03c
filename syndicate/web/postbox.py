"""The embedded mailbox of the demo, as pages. Not part of an installation that sends to a real relay."""

from __future__ import annotations

from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from syndicate.deliver.postbox import StoredMessage, get_message, list_messages
from syndicate.digest.preview import extract_part
from syndicate.errors import NotFound
from syndicate.publish.cards import PostboxCard, PostboxMessage
from syndicate.service.archive import page_renderer
from syndicate.web.forms import NOT_KEPT, installation, private_page
from syndicate.web.security import CONTENT_SECURITY_POLICY

__all__ = ["ROUTES"]

#: A mail brings its styles with it, so its own page allows them, and nothing that could act.
_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; frame-ancestors 'self'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
_KINDS = {"html": "html", "text": "txt", "source": "eml"}


def postbox_list(request: Request) -> Response:
    """Every mail that has arrived, the newest first."""
    found = [_card(message) for message in list_messages(request.app.state.postbox_folder)]
    return private_page(page_renderer(installation(request)).postbox(found))


def postbox_show(request: Request) -> Response:
    """One mail: its headers, its HTML in a frame, its text."""
    folder, key = request.app.state.postbox_folder, request.path_params["key"]
    raw = get_message(folder, key)
    card = next(_card(m) for m in list_messages(folder) if m.key == key)
    parsed = message_from_bytes(raw)
    message = PostboxMessage(
        card=card,
        headers=tuple((name, _decoded(value)) for name, value in parsed.items()),
        text=extract_part(raw, "txt").decode("utf-8", "replace"),
        has_html=any(part.get_content_type() == "text/html" for part in parsed.walk()),
    )
    response = private_page(page_renderer(installation(request)).postbox_message(message))
    response.headers["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"
    return response


def postbox_part(request: Request) -> Response:
    """A part of a mail by itself: html, text or source."""
    raw = get_message(request.app.state.postbox_folder, request.path_params["key"])
    part = request.path_params["part"]
    if part not in _KINDS:
        raise NotFound("part", part, list(_KINDS))
    content = extract_part(raw, _KINDS[part])
    if part != "html":
        return PlainTextResponse(content, headers=NOT_KEPT)
    # Without this a link would open inside the frame, where other pages refuse to be shown.
    content = content.replace(b"<head>", b'<head><base target="_blank">', 1)
    framed = {"Content-Security-Policy": _MAIL_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    return HTMLResponse(content, headers={**NOT_KEPT, **framed})


def _card(message: StoredMessage) -> PostboxCard:
    return PostboxCard(
        key=message.key,
        recipient=message.to,
        sender=message.sender,
        subject=message.subject,
        received_at=message.date,
    )


def _decoded(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


ROUTES: list[BaseRoute] = [
    Route("/postbox/", postbox_list),
    Route("/postbox/{key}", postbox_show),
    Route("/postbox/{key}/{part}", postbox_part),
]
