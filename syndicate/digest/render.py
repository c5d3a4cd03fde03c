"""Jinja2 templates of mail -> text. The only reader of template files; knows no tokens and no message."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import jinja2
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from syndicate.digest.plain import clean_line, wrap
from syndicate.digest.view import long_date
from syndicate.errors import TemplateError

__all__ = ["render_subject", "render_template"]

#: What a mistake in a template can raise while it renders.
_MISTAKES: Final = (
    jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError
)  # fmt: skip
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
    try:
        return _environment(tuple(folders)).get_template(name).render(values)
    except _MISTAKES as error:
        raise _located(error, name, folders) from error


def render_subject(template: str, values: Mapping[str, str | int], *, place: str) -> str:
    """A newsletter's own subject line over plain values, in a sandbox; one line, may be empty.

    Raises TemplateError that names ``place``.
    """
    try:
        return clean_line(_subject_template(template).render(values))
    except _MISTAKES as error:
        raise TemplateError(place, getattr(error, "lineno", None), clean_line(str(error))) from error


class _SubjectEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox without globals, without the filters and operators that can make much out of little."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:  # noqa: ARG002 - the base class's signature
        raise jinja2.exceptions.SecurityError(f"a subject cannot use '{operator}'")


@lru_cache(maxsize=8)
def _environment(folders: tuple[Path, ...]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"long_date": long_date, "wrapped": wrap}
    return environment


@lru_cache(maxsize=64)
def _subject_template(source: str) -> jinja2.Template:
    environment = _SubjectEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _SUBJECT_FILTERS}
    return environment.from_string(source)


def _located(error: Exception, name: str, folders: Sequence[Path]) -> TemplateError:
    """The error with the template and line where it arose, which may be one that was included."""
    detail = clean_line(str(error))
    if isinstance(error, jinja2.TemplateNotFound):
        return TemplateError(str(error.name or name), None, "is in none of the folders of templates")
    if isinstance(error, jinja2.TemplateSyntaxError):
        return TemplateError(error.name or name, error.lineno, detail.partition(" File ")[0])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for folder in folders:
            if Path(frame.filename).is_relative_to(folder):
                return TemplateError(str(Path(frame.filename).relative_to(folder)), frame.lineno, detail)
    return TemplateError(name, None, detail)
