import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from syndicate.collect.watch import watch_folders

QUIET_S = 0.3


class Watch:
    """A watch that is running, and the folders that it has told of."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.told: asyncio.Queue[Path] = asyncio.Queue()
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(
            watch_folders(self.folders, self.told.put, self.stop, quiet_s=QUIET_S)
        )
        # Nobody says when the system has begun to watch: what is written before that is not told of.
        while True:
            (self.folders[0] / "begin.txt").write_text("begin")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.told.get(), 4 * QUIET_S)
                return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 30)

    async def next(self) -> Path:
        return await asyncio.wait_for(self.told.get(), 30)


def test_a_folder_is_told_of_once_for_all_that_was_written_into_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "deep").mkdir(parents=True)
    two.mkdir()

    async def story() -> None:
        async with Watch(one, two, tmp_path / "missing") as watch:
            for n in range(3):
                (two / f"{n}.md").write_text("words")
            assert await watch.next() == two
            (one / "deep" / "a.md").write_text("words")
            assert await watch.next() == one
            (one / "deep" / "a.md").rename(one / "b.md")
            assert await watch.next() == one
            (one / "b.md").unlink()
            assert await watch.next() == one
            assert watch.told.empty()

    asyncio.run(story())


def test_hidden_and_temporary_files_count_for_nothing(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / ".git").mkdir(parents=True)
    two.mkdir()

    async def story() -> None:
        async with Watch(two, one) as watch:
            for name in (".a.md.swp", "~a.md", ".git/index"):
                (one / name).write_text("words")
            (two / "a.md").write_text("words")
            assert await watch.next() == two
            (two / "b.md").write_text("words")
            assert await watch.next() == two

    asyncio.run(story())


def test_a_folder_is_told_of_by_the_path_under_which_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    async def story() -> None:
        async with Watch(tmp_path / "link") as watch:
            (tmp_path / "real" / "a.md").write_text("words")
            assert await watch.next() == tmp_path / "link"

    asyncio.run(story())


@pytest.mark.parametrize("exists", [True, False])
def test_a_watch_ends_when_it_is_told_to(tmp_path: Path, *, exists: bool) -> None:
    async def story() -> None:
        stop = asyncio.Event()
        folder = tmp_path if exists else tmp_path / "missing"
        told: asyncio.Queue[Path] = asyncio.Queue()
        task = asyncio.create_task(watch_folders([folder], told.put, stop))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(task, 30)

    asyncio.run(story())
