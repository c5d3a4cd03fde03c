from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from syndicate.cli.app import _globals_first
from syndicate.cli.output import Output, counted
from syndicate.errors import OperationError, UsageError
from syndicate.model import Author, SourceKind

PLAIN = Output(as_json=False, quiet=False)
AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


class Terminal:
    """Stands for a keyboard at which somebody sits."""

    closed = False

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer


def test_with_json_a_result_is_one_document_and_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    value = {SourceKind.FEED: [Author(name="Ä"), AT, b"x", {1}]}
    Output(as_json=True, quiet=False).result(value, lambda: pytest.fail("shown"))
    author = {"name": "Ä", "email": "", "url": ""}
    assert json.loads(capsys.readouterr().out) == {"feed": [author, "2026-03-14T09:26:53+00:00", "x", [1]]}


def test_messages_go_to_stderr_and_quiet_keeps_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Output(as_json=False, quiet=True)
    quiet.say("collecting")
    quiet.warn("broken")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "broken\n")


def test_a_table_aligns_numbers_at_the_right_and_leaves_no_blanks_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    PLAIN.table(("id", "title", "note"), [(7, "Of [bold]oaks[/] :tada:", None), (11, "日本", "x")])
    assert capsys.readouterr().out.splitlines() == [
        "id  title                    note",
        " 7  Of [bold]oaks[/] :tada:",
        "11  日本                     x",
    ]


def test_a_row_is_one_line_of_a_pipe_however_long_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    PLAIN.table(("title",), [("x" * 500 + "\nand y",)])
    assert capsys.readouterr().out.splitlines()[1:] == ["x" * 500 + " and y"]


@pytest.mark.parametrize(
    "show",
    [PLAIN.line, PLAIN.say, PLAIN.warn, lambda text: PLAIN.table(("title",), [(text,)])],
    ids=["line", "say", "warn", "table"],
)
def test_a_stranger_cannot_speak_to_the_terminal(
    show: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show("a\x1b]0;mine\x07b\x9b2Jc\rd")
    captured = capsys.readouterr()
    assert "a�]0;mine�b�2Jc�d" in captured.out + captured.err


def test_times_are_in_the_zone_of_the_site_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    berlin = Output(as_json=False, quiet=False, zone=ZoneInfo("Europe/Berlin"))
    assert berlin.time(AT) == "2026-03-14 10:26 CET"
    berlin.table(("when",), [(AT,)])
    assert "2026-03-14 10:26 CET" in capsys.readouterr().out


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with PLAIN.progress("Sending", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_yes_answers_and_nobody_at_the_keyboard_is_a_wrong_call() -> None:
    PLAIN.confirm("Delete it?", yes=True)
    with pytest.raises(UsageError, match=r"Delete it\?.*--yes"):
        PLAIN.confirm("Delete it?", yes=False)


@pytest.mark.parametrize(
    ("answer", "is_sure"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_somebody_at_the_keyboard_decides(
    answer: str, *, is_sure: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert PLAIN.is_sure("Delete it?", yes=False) is is_sure
    if not is_sure:
        with pytest.raises(OperationError, match="nothing was done"):
            PLAIN.confirm("Delete it?", yes=False)
    assert capsys.readouterr().out == "", "a question is no result"


@pytest.mark.parametrize(("count", "words"), [(0, "0 readers"), (1, "1 reader"), (2, "2 readers")])
def test_a_number_agrees_with_its_noun(count: int, words: str) -> None:
    assert counted(count, "reader") == words


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["source", "list", "--json"], ["--json", "source", "list"]),
        (["send", "x", "-q", "--config", "a.toml"], ["-q", "--config", "a.toml", "send", "x"]),
        (["--config=a", "list", "-v"], ["--config=a", "-v", "list"]),
        (["show", "--", "--json"], ["show", "--", "--json"]),
        (["list", "--config"], ["--config", "list"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere_before_a_double_dash(given: list[str], ordered: list[str]) -> None:
    assert _globals_first(given) == ordered
