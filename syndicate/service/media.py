"""Images that articles of folders refer to: kept beside the installation, under the hash of their bytes.

Nothing is ever changed or removed: mails that were sent refer to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from syndicate.errors import NotFound, OperationError
from syndicate.service.installation import Installation

__all__ = ["MEDIA_TYPES", "keep_image", "list_media", "media_file"]

#: What an image may be, by the suffix under which it is kept. No SVG: it can hold scripts.
MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".avif": "image/avif",
        ".gif": "image/gif",
        ".jpg": "image/jpeg",
        ".png": "image/png",
        ".webp": "image/webp",
    }
)

_NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}")


def keep_image(inst: Installation, name: str, content: bytes) -> None:
    """Keeps an image under a name that is the hash of its bytes; once is enough. Raises OperationError."""
    path = _folder(inst) / name
    if path.exists():
        return
    # Named after this process: two that keep the same image must not write into one file.
    fresh = path.with_name(f".{name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        raise OperationError(f"{path.parent} cannot be written to: {error.strerror}") from None


def media_file(inst: Installation, name: str) -> tuple[Path, str]:
    """The file of an image and its media type. Raises NotFound."""
    path = _folder(inst) / name
    media_type = MEDIA_TYPES.get(path.suffix)
    if media_type is None or not _NAME.fullmatch(name) or not path.is_file():
        raise NotFound("image", name)
    return path, media_type


def list_media(inst: Installation) -> Iterable[str]:
    """The names of all images that are kept, in order."""
    folder = _folder(inst)
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file.name for file in files if _NAME.fullmatch(file.name))


def _folder(inst: Installation) -> Path:
    return inst.settings.folder / "media"
