from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.errors import ImportProblem
from subscribers.spreadsheet import read_rows, write_row

#: What a cell can hold after a name was cleaned, with what formulas are made of being frequent.
CELLS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
        st.text("=+-@|'\" \t\r\n,;abc＝", max_size=8),
    ),
    min_size=2,
    max_size=2,
).filter(any)


def read(text: str | bytes) -> list[tuple[int, dict[str, str], str]]:
    data = text.encode() if isinstance(text, str) else text
    return [(r.line, dict(r.cells), r.problem) for r in read_rows(io.BytesIO(data), required="email")]


@given(st.lists(CELLS, max_size=5))
def test_what_was_written_is_read_again_cell_by_cell(rows: list[list[str]]) -> None:
    text = write_row(["email", "name"]) + "".join(map(write_row, rows))
    assert [list(cells.values()) for _, cells, _ in read(text)] == rows


@given(CELLS)
def test_no_cell_that_was_written_begins_like_a_formula(cells: list[str]) -> None:
    for cell in next(csv.reader(io.StringIO(write_row(cells), newline=""))):
        bare = cell.lstrip(' "\n\t\r')
        assert not bare.startswith(("=", "+", "-", "@", "|"))
        assert not cell.startswith(("\t=", "\r="))


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "|x", "  =1", '"=1', "'=1", "＝1", " '\" @x"]
)
def test_cells_that_could_be_formulas_are_prefixed(cell: str) -> None:
    written = next(csv.reader(io.StringIO(write_row([cell]), newline="")))
    assert written == ["'" + cell]


@pytest.mark.parametrize("cell", ["Reader", "o'hara", "'quoted'", "a=b", "1-2", ""])
def test_other_cells_are_written_as_they_are(cell: str) -> None:
    assert next(csv.reader(io.StringIO(write_row([cell, "x"])))) == [cell, "x"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_and_marks_are_found_out(delimiter: str, start: bytes, end: str) -> None:
    text = end.join([delimiter.join(["Time zone", "E-mail", "EMAIL"]), delimiter.join(["a", "b", "c"])])
    assert read(start + text.encode()) == [(2, {"time_zone": "a", "e_mail": "b", "email": "c"}, "")]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    text = 'email,name\na,"x\ny"\n\nb,z\n , \nc\n'
    assert [(line, cells["email"]) for line, cells, _ in read(text)] == [
        (2, "a"),
        (5, "b"),
        (6, " "),
        (7, "c"),
    ]


def test_a_short_line_is_filled_up_and_a_long_one_is_a_problem() -> None:
    (_, short, fine), (_, _, problem) = read("email,name\na\nb,c,d\n")
    assert (short, fine) == ({"email": "a", "name": ""}, "")
    assert problem == "it has 3 cells and the header 2"


def test_bytes_that_are_not_utf_8_spoil_their_own_line_only() -> None:
    rows = read("email,name\na,Müller\n".encode("latin-1") + "b,Müller\n".encode())
    assert ["UTF-8" in problem for _, _, problem in rows] == [True, False]


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"", 1, "no column 'email'"),
        (b"name,mail\n", 1, "it is 'name,mail'"),
        (b"email,name,Name\n", 1, "'name' twice"),
        ("email\na\n".encode("utf-16"), 1, "UTF-16"),
        (b'email\na\n"b\n', 3, "quotation marks"),
        (b'email\na\n"b" c\n', 3, "quotation marks"),
        (b"email\n" + b"x" * 2_000_000, 2, "longer than"),
        (b"email\na\rb\rc\n", 2, "quotation marks"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_line(data: bytes, line: int, says: str) -> None:
    with pytest.raises(ImportProblem) as caught:
        read(data)
    assert caught.value.line == line
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_as_a_stream() -> None:
    class Endless(io.RawIOBase):
        def readline(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002  the interface's
            return b"email\n"

    rows = read_rows(Endless(), required="email")  # type: ignore[arg-type]  # as much of a file as is read
    assert next(rows).line == 2
