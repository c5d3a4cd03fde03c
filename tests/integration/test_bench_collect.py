"""The figures of collecting: small numbers, only to see that each step can be measured and none is empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench_collect import main
from scripts.bench_collect_peers import fingerprint
from scripts.bench_collect_run import Bench, Scale, asking
from scripts.bench_feed_server import Feeds, running_feeds
from scripts.bench_table import Figure

QUICK = ("--quick", "--no-install")


@pytest.fixture(scope="module")
def site() -> Iterator[Feeds]:
    with running_feeds(2, entries=2, entry_bytes=400) as running:
        yield running


def test_the_quick_form_prints_a_line_for_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert main([*QUICK, "--folder", str(tmp_path / "databases"), "--json", str(file)]) == 0
    figures = {row["name"]: row for row in json.loads(file.read_text("utf-8"))["figures"]}
    assert list(figures) == [
        "cold, 10 entries of 6 KB",
        "starting, counted nowhere else",
        "nothing new, status 304",
        "nothing new, all sent again",
        "parsing 50 entries, 296 KB of RSS",
        "parsing 50 entries, 296 KB of Atom",
        "memory, 100 sources, nothing new",
        "a day of 100 sources",
        "a day of 100 sources, closest at one host",
        "a day of 100 sources, after 410",
    ]
    assert all(row["ours"] > 0 for name, row in figures.items() if name != "a day of 100 sources, after 410")
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(name) for line in lines) for name in figures)
    assert not list((tmp_path / "databases").iterdir())


@pytest.mark.parametrize(
    ("figure", "code"),
    [
        (Figure(name="speed", unit="s", ours=1.0, goal="2 s or less", is_met=True), 0),
        (Figure(name="speed", unit="s", ours=1.0), 0),
        (Figure(name="speed", unit="s", ours=3.0, goal="2 s or less", is_met=False), 1),
    ],
)
def test_only_a_missed_goal_fails_a_strict_run_of_collecting(
    figure: Figure, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(bench: Bench) -> None:
        bench.figures.append(figure)

    monkeypatch.setattr("scripts.bench_collect.STEPS", {"one": step})
    words = [*QUICK, "--folder", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--strict"]) == code


def test_who_did_not_ask_for_every_feed_is_not_measured(site: Feeds) -> None:
    with pytest.raises(SystemExit, match="should have answered 'full' 2 times"):
        asking(site, 2, "full", lambda: {"feeds_s": 1e9})


def test_who_is_led_by_the_wrong_addresses_is_not_measured(tmp_path: Path, site: Feeds) -> None:
    bench = Bench(
        scale=Scale(rounds=1, cold=2, same=2, theirs=2, parsed=1, many=2), folder=tmp_path, reader=None
    )
    more = Feeds(site.port, 3, site.entries)
    with pytest.raises(SystemExit, match="of 3 sources 2 were read"):
        bench.collect(more, bench.prepare(more), is_first=True)


def test_the_same_words_in_other_markup_have_the_same_fingerprint() -> None:
    seen = fingerprint(["<p>Tide &amp;\u00a0timber</p>", "<b>Oak</b>"])
    assert seen == fingerprint(['<p class="x"><b>Oak</b>\n</p>', "Tide &amp; <i>timber</i>"])
    assert seen != fingerprint(["Tide &amp; timber", "Elm"])
