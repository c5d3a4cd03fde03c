"""Jinja2 templates of mail -> text, and subjects -> lines. Knows no tokens and no message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import jinja2
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from syndicate.digest.plain import clean_line, wrap
from syndicate.errors import TemplateError
from syndicate.templating import TEMPLATE_MISTAKES, Templates

__all__ = ["render_subject", "render_template"]

_SUBJECT_FILTERS: Final = (
    "capitalize",
    "default",
    "length",
    "lower",
    "replace",
    "title",
    "trim",
    "truncate",
    "upper",
)


def render_template(folders: Sequence[Path], name: str, values: Mapping[str, object]) -> str:
    """The template of that name, such as ``email/digest.html``, filled with the values.

    Each folder holds ``email/``; the first that has the template wins. ``.html`` is escaped, anything
    else is not. Raises TemplateError with template and line for every mistake, an unknown name included.
    """
    return _templates(tuple(folders)).render(name, values)


def render_subject(template: str, values: Mapping[str, str | int], *, place: str) -> str:
    """A newsletter's own subject line over plain values, in a sandbox; one line, may be empty.

    Raises TemplateError that names ``place``.
    """
    try:
        return clean_line(_subject_template(template).render(values))
    except TEMPLATE_MISTAKES as error:
        raise TemplateError(place, getattr(error, "lineno", None), clean_line(str(error))) from error


class _SubjectEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox without globals, without the filters and operators that can make much out of little."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:  # noqa: ARG002 - the base class's signature
        raise jinja2.exceptions.SecurityError(f"a subject cannot use '{operator}'")


@lru_cache(maxsize=8)
def _templates(folders: tuple[Path, ...]) -> Templates:
    return Templates(folders, filters={"wrapped": wrap})


@lru_cache(maxsize=64)
def _subject_template(source: str) -> jinja2.Template:
    environment = _SubjectEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _SUBJECT_FILTERS}
    return environment.from_string(source)
