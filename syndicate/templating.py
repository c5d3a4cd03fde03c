"""Jinja2 templates -> text, each mistake with its place. Knows no page, no mail and no address."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jinja2

from syndicate import typography
from syndicate.errors import TemplateError

__all__ = ["TEMPLATE_MISTAKES", "Templates"]

#: What a mistake in a template can raise while it renders.
TEMPLATE_MISTAKES: Final = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Templates:
    """The templates of some folders, each with ``web/`` or ``email/`` or both. The first folder that has a
    template wins, so that an operator's goes before the one that comes with the program.

    ``values`` are there in every template, macros included. Every template has the functions of
    ``syndicate.typography`` as filters, and ``filters`` besides. ``.html`` is escaped unless it is marked
    safe, anything else is not.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        values: Mapping[str, object] = _NOTHING,
        filters: Mapping[str, Callable[..., object]] = _NOTHING,
    ) -> None:
        self._folders = tuple(folders)
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._folders),
            autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default=False),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= values
        self._environment.filters |= {name: getattr(typography, name) for name in typography.__all__}
        self._environment.filters |= filters

    def render(self, name: str, values: Mapping[str, object]) -> str:
        """The template of that name, such as ``web/home.html``, filled with the values.

        Raises TemplateError with template and line for every mistake, an unknown name included.
        """
        try:
            return self._environment.get_template(name).render(values)
        except TEMPLATE_MISTAKES as error:
            raise self._located(error, name) from error

    def _located(self, error: Exception, name: str) -> TemplateError:
        """The error with the template and line where it arose, which may be one that was included."""
        detail = " ".join(str(error).split())
        if isinstance(error, jinja2.TemplateNotFound):
            missing = error.name if isinstance(error.name, str) else name
            return TemplateError(missing, None, "is in none of the folders of templates")
        if isinstance(error, jinja2.TemplateSyntaxError):
            return TemplateError(error.name or name, error.lineno, " ".join((error.message or "").split()))
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            for folder in self._folders:
                if Path(frame.filename).is_relative_to(folder):
                    place = Path(frame.filename).relative_to(folder).as_posix()
                    return TemplateError(place, frame.lineno, detail)
        return TemplateError(name, None, detail)
