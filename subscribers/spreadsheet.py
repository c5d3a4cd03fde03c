"""CSV as spreadsheets write and read it: which cells stand in which line. Knows nothing of subscribers.

Reads a stream line by line. Writes cells so that no spreadsheet takes one for a formula.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from subscribers.errors import ImportProblem

__all__ = ["Row", "read_rows", "write_row"]

_DELIMITERS: Final = (",", ";", "\t")
_MAX_LINE_BYTES: Final = 1_000_000  # our choice: a line that long is no line of a list of people

#: What a spreadsheet may take for a formula, also behind blanks and quotes. The full-width signs count too
#: where East Asian input is usual.
_FORMULA: Final = re.compile(r"[\s'\"]*[=+\-@|\t\r＝＋－＠]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line below the header; a cell with line breaks makes it more than one line of the file."""

    line: int  #: of the file, from 1; the first one
    cells: Mapping[str, str]  #: by the name of their column; a missing one is ""
    problem: str  #: why the line cannot be taken as it is, or ""


def read_rows(stream: BinaryIO, *, required: str) -> Iterator[Row]:
    """The lines of a CSV file in UTF-8 whose header names at least the column ``required``.

    A byte order mark is dropped; cells are divided by whichever of , ; TAB makes sense of the header. Names
    of columns are compared in lower case, ``Time zone`` is ``time_zone``. Empty lines are passed over.
    Raises ImportProblem for what leaves no meaning to the rest of the file.
    """
    lines = _decoded_lines(stream)
    first = next(lines, "")
    columns, delimiter = _read_header(first, required)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 2
    try:
        for cells in reader:
            if any(cells):
                yield _to_row(start, columns, cells)
            start = reader.line_num + 2  # the header was not the reader's
    except csv.Error as error:
        raise ImportProblem(start, "is not CSV; look at its quotation marks and line ends") from error


def write_row(cells: Sequence[str]) -> str:
    """A line of CSV with CRLF (RFC 4180 section 2); ``read_rows`` gives back exactly these cells."""
    line = io.StringIO()
    csv.writer(line).writerow([f"'{cell}" if _FORMULA.match(cell) else cell for cell in cells])
    return line.getvalue()


def _decoded_lines(stream: BinaryIO) -> Iterator[str]:
    number = 0
    while data := stream.readline(_MAX_LINE_BYTES):
        number += 1
        if len(data) == _MAX_LINE_BYTES:
            raise ImportProblem(number, f"is longer than {_MAX_LINE_BYTES:,} bytes; is this a CSV file?")
        if number == 1:
            if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ImportProblem(1, "the file is in UTF-16; save it as 'CSV UTF-8'")
            data = data.removeprefix(codecs.BOM_UTF8)
        # Bytes that are not UTF-8 spoil their own line only: _to_row finds what they became.
        yield data.decode("utf-8", "surrogateescape")


def _read_header(line: str, required: str) -> tuple[list[str], str]:
    for delimiter in _DELIMITERS:
        try:
            columns = [
                "_".join(cell.casefold().replace("-", " ").split())
                for cells in csv.reader([line], delimiter=delimiter)
                for cell in cells
            ]
        except csv.Error:
            break
        if required in columns:
            named = [name for name in columns if name]
            if twice := {name for name in named if named.count(name) > 1}:
                raise ImportProblem(1, f"the header names '{min(twice)}' twice")
            return columns, delimiter
    shown = ascii(line.strip()[:80])
    raise ImportProblem(1, f"the header names no column '{required}'; it is {shown}")


def _to_row(line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    problem = ""
    if len(cells) > len(columns):
        problem = f"it has {len(cells)} cells and the header {len(columns)}"
    elif not all(_is_text(cell) for cell in cells):
        problem = "it is not in UTF-8; save the file as 'CSV UTF-8'"
    # What the header names and the line leaves out is empty.
    filled = [*map(_plain, cells), *[""] * (len(columns) - len(cells))]
    return Row(line=line, cells=dict(zip(columns, filled, strict=False)), problem=problem)


def _is_text(cell: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in cell)


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell
