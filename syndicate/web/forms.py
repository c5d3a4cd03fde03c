"""What handlers share about requests: the form, the installation, where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse

from syndicate.service.installation import Installation

__all__ = ["NOT_KEPT", "choices", "field", "installation", "private_page", "read_form", "remote_address"]

_MOST_FIELDS: Final = 100

#: For what is one reader's business: no cache keeps it, no search engine lists it.
NOT_KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
)


def installation(request: Request) -> Installation:
    """The installation that the application serves."""
    inst: Installation = request.app.state.inst
    return inst


async def read_form(request: Request) -> FormData:
    """The form, urlencoded or multipart; files are refused."""
    return await request.form(max_files=0, max_fields=_MOST_FIELDS)


def field(form: FormData, name: str) -> str:
    """A field's text, or empty."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def choices(form: FormData) -> dict[str, list[str]]:
    """What was chosen of cadence and topics."""
    return {name: [v for v in form.getlist(name) if isinstance(v, str)] for name in ("cadence", "topics")}


def remote_address(request: Request) -> str:
    """Where a request came from, for the consent record."""
    return request.client.host if request.client else "unknown"


def private_page(html: str, status: int = 200) -> HTMLResponse:
    """A page that is one reader's business."""
    return HTMLResponse(html, status_code=status, headers=NOT_KEPT)
