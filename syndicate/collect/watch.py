"""Folders watched for changes, so that an article is there moments after it was saved. Reads no file.

It is a convenience: whoever watches looks at the folders from time to time all the same, for not every file
system tells of its changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from watchfiles import awatch

from syndicate.collect.folder_files import SETTLE_S, is_meant

__all__ = ["watch_folders"]

#: A folder that never comes to rest is looked at this often; our choice.
_LONGEST_S: Final = 30.0
#: How often what the system says is asked for, and whether to stop.
_STEP_MS: Final = 200


async def watch_folders(
    folders: Sequence[Path],
    on_change: Callable[[Path], Awaitable[None]],
    stop: asyncio.Event,
    *,
    quiet_s: float = SETTLE_S,
) -> None:
    """Calls ``on_change`` with each folder in which something has changed, until ``stop`` is set.

    It is called when nothing has changed for ``quiet_s`` seconds, so that what was being written is whole,
    and once for all that has changed by then. Hidden and temporary files count for nothing, and folders that
    are missing are not watched. Raises OSError if the system cannot watch so many: then looking from time to
    time is all there is.
    """
    by_path = {str(folder.resolve()): folder for folder in folders if folder.is_dir()}
    if not by_path:
        await stop.wait()
        return
    clock = asyncio.get_running_loop().time
    changed: dict[Path, float] = {}
    batches = awatch(
        *by_path,
        watch_filter=None,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=int(quiet_s * 1_000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    async for batch in batches:
        for folder in _folders_of((path for _, path in batch), by_path):
            changed.setdefault(folder, clock())
        due = [folder for folder, since in changed.items() if not batch or clock() - since > _LONGEST_S]
        for folder in due:
            del changed[folder]
            await on_change(folder)


def _folders_of(paths: Iterable[str], by_path: Mapping[str, Path]) -> set[Path]:
    """The folders in which these paths are, without those that no article can be in."""
    return {
        folder
        for path in paths
        for root, folder in by_path.items()
        if path.startswith(f"{root}/") and is_meant(path.removeprefix(f"{root}/"))
    }
