"""A sender that is killed, at a random instant or at a named point, loses nobody."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.faults.kill import kill_senders
from tests.faults.points import Point, crash_at, crash_while_opening, crash_while_sending


def test_a_sender_that_is_killed_loses_nobody_and_doubles_no_more_than_its_window(
    engine: Engine, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)

    figures = kill_senders(engine, tmp_path, kills=6, readers=100, seed=seed)

    sys.stdout.write(f"{figures}\n")  # shown where it fails, with the seed
    figures.check()
    assert figures.kills >= 4  # the last one may have come too late


@pytest.mark.parametrize("point", Point)
def test_a_kill_at_a_named_point_costs_a_copy_only_between_acceptance_and_record(
    sqlite_engine: Engine, tmp_path: Path, point: Point
) -> None:
    figures = crash_at(point, sqlite_engine, tmp_path, readers=2, in_a_row=2)

    figures.check()
    assert figures.kills == (2 if point is Point.AFTER_RECORD else 4)


@pytest.mark.parametrize("point", [Point.AFTER_MARK, Point.BEFORE_RECORD])
def test_it_does_so_on_postgresql(postgresql_engine: Engine, tmp_path: Path, point: Point) -> None:
    crash_at(point, postgresql_engine, tmp_path, readers=1, in_a_row=3).check()


def test_a_kill_while_an_edition_opens_leaves_nothing_or_all_of_it(engine: Engine, tmp_path: Path) -> None:
    assert crash_while_opening(engine, tmp_path, readers=3, stride=5) > 10


def test_senders_that_are_killed_at_one_statement_after_the_other_lose_nobody(
    engine: Engine, tmp_path: Path
) -> None:
    assert crash_while_sending(engine, tmp_path, readers=6, stride=4).kills > 10
