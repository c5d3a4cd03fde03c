"""The files that pages refer to: style sheet and icon. They stand beside the templates, so that an operator's
folder can put its own in their place. Serves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

__all__ = ["STATIC_NAMES", "read_static"]

#: Every file there is, with its media type.
STATIC_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"site.css": "text/css; charset=utf-8", "favicon.svg": "image/svg+xml"}
)


def read_static(template_folders: Sequence[Path], name: str) -> bytes:
    """The content of one of STATIC_NAMES, from the first folder that has it."""
    found = next(p for folder in template_folders if (p := folder / "web" / "static" / name).is_file())
    return found.read_bytes()
