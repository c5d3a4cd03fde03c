"""Watches the folders that are sources, in a thread of its own: what is saved is collected moments later.

The clock looks at them from time to time all the same: not every file system tells of its changes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from syndicate.collect.watch import watch_folders
from syndicate.errors import SyndicateError
from syndicate.service.collecting import list_folders
from syndicate.service.installation import Installation

__all__ = ["FolderWatch"]

_log = structlog.get_logger(__name__)

#: How soon a folder that was added is watched; our choice.
_LOOK_EVERY_S: Final = 30.0
_STEP_S: Final = 0.2


@dataclass
class FolderWatch:
    """Calls ``on_change`` with the number of each source whose folder has changed, until it is stopped."""

    inst: Installation
    on_change: Callable[[int], None]
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch."""
        self._thread = threading.Thread(target=self._run, name="folders", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends, when a change that is being told of has been."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._watch(list_folders(self.inst)))
            except (OSError, SyndicateError) as error:
                # Looking from time to time is all there is then.
                _log.warning("folders_not_watched", error=str(error))
                self._stopping.wait(_LOOK_EVERY_S)

    async def _watch(self, folders: Mapping[Path, int]) -> None:
        """Until it is stopped, or other folders are sources."""
        stop = asyncio.Event()

        async def tell(folder: Path) -> None:
            await asyncio.to_thread(self.on_change, folders[folder])

        watching = asyncio.create_task(watch_folders(list(folders), tell, stop))
        look_at_s = asyncio.get_running_loop().time() + _LOOK_EVERY_S
        try:
            while not (self._stopping.is_set() or watching.done()):
                await asyncio.wait([watching], timeout=_STEP_S)
                if asyncio.get_running_loop().time() >= look_at_s:
                    look_at_s += _LOOK_EVERY_S
                    if await asyncio.to_thread(list_folders, self.inst) != folders:
                        break
        finally:
            stop.set()
            await watching
