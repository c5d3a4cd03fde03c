"""A database that fails in the middle costs nobody a mail, and whoever reads the error knows what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.faults.breakdowns import Cut, FalseCommit, Full, Locked, World
from tests.faults.processes import Moment

READERS = 30


@pytest.mark.parametrize("pages", [0, 2])
def test_a_full_disk_ends_the_run_with_one_line_and_the_next_one_sends_the_rest(
    sqlite_engine: Engine, tmp_path: Path, pages: int
) -> None:
    figures = World(sqlite_engine, tmp_path, READERS).send(Full(pages), after=5, lasts=True)

    figures.check()
    assert figures.error.endswith("database or disk is full")
    assert figures.account.duplicates == figures.unrecorded


def test_a_lock_that_lasts_ends_the_run_with_one_line_and_the_next_one_sends_the_rest(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    figures = World(sqlite_engine, tmp_path, READERS).send(Locked(), after=5, lasts=True)

    figures.check()
    assert figures.error.endswith("database is locked")
    assert figures.account.duplicates == figures.unrecorded


def test_connections_that_are_cut_again_and_again_end_the_run_with_one_line(
    postgresql_engine: Engine, tmp_path: Path
) -> None:
    figures = World(postgresql_engine, tmp_path, READERS).send(Cut(), after=5, lasts=True)

    figures.check()
    assert figures.error.startswith("database postgresql")


@pytest.mark.parametrize("failure", [Full(1), Locked()], ids=["full", "locked"])
def test_what_passes_on_sqlite_costs_nothing(
    sqlite_engine: Engine, tmp_path: Path, failure: Full | Locked
) -> None:
    figures = World(sqlite_engine, tmp_path, READERS).send(failure, after=5, lasts=False)

    figures.check()
    assert (figures.error, figures.marked, figures.account.duplicates) == ("", 0, 0)


def test_a_connection_that_is_cut_once_costs_nothing(postgresql_engine: Engine, tmp_path: Path) -> None:
    figures = World(postgresql_engine, tmp_path, READERS).send(Cut(), after=5, lasts=False)

    figures.check()
    assert (figures.error, figures.account.duplicates) == ("", 0)


@pytest.mark.parametrize("moment", Moment)
def test_a_commit_of_which_nobody_can_know_whether_it_was_done_loses_nobody(
    engine: Engine, tmp_path: Path, moment: Moment
) -> None:
    world = World(engine, tmp_path, 6)
    for number in (1, 2, 3, 5):
        failure = FalseCommit(number, moment)

        figures = world.send(failure, after=10**6, lasts=False)

        figures.check()
        assert failure.commits >= number, "it has come too late"
