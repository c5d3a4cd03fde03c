"""The figures of delivery: small numbers, only to see that each step can be measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from scripts.bench_delivery import main
from scripts.bench_run import Bench
from scripts.bench_table import Figure
from scripts.bench_tools import Missing, find_postfix

QUICK = ("--quick", "--no-install")


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def has_sink() -> bool:
    try:
        find_postfix(may_fetch=False)
    except Missing:
        return False
    return True


def measure(folder: Path, step: str) -> dict[str, Figure]:
    file = folder / "figures.json"
    assert main([*QUICK, "--folder", str(folder), "--json", str(file), "--only", step]) == 0
    rows = json.loads(file.read_text("utf-8"))["figures"]
    return {row["name"]: Figure(**{key: row[key] for key in row if key != "ratio"}) for row in rows}


def test_composing_is_measured_beside_the_standard_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = measure(tmp_path, "composing")["composing"]
    assert figure.peer == "EmailMessage"
    assert figure.theirs is not None
    assert 0 < figure.ours < figure.theirs < math.inf
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("composing ") and "EmailMessage" in line for line in lines)


@pytest.mark.skipif(not has_sink(), reason="smtp-sink of Postfix is not installed")
def test_growing_editions_are_sent_to_the_last_reader_and_measured(tmp_path: Path) -> None:
    found = measure(tmp_path, "growth")
    assert found["sending to 800 readers"].ours > 0
    assert found["memory at 800 readers"].ours > 1


@pytest.mark.parametrize(
    ("figure", "code"),
    [
        (Figure(name="speed", unit="s", ours=1.0, goal="2 s or less", is_met=True), 0),
        (Figure(name="speed", unit="s", ours=1.0), 0),
        (Figure(name="speed", unit="s", ours=3.0, goal="2 s or less", is_met=False), 1),
    ],
)
def test_only_a_missed_goal_fails_a_strict_run(
    figure: Figure, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(bench: Bench) -> None:
        bench.figures.append(figure)

    monkeypatch.setattr("scripts.bench_delivery.STEPS", {"one": step})
    words = [*QUICK, "--folder", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--strict"]) == code
