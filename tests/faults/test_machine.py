"""Whatever happens to an edition, in whatever order: the promise is kept."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from tests.faults.machine import run_machine


def test_no_sequence_of_events_passes_anybody_over_or_brings_anybody_anything_twice_without_need(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    run_machine(sqlite_engine, tmp_path, sequences=12)
