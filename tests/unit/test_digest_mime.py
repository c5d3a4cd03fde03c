import quopri
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syndicate.digest.mime import qp_piece

texts = st.one_of(
    st.text("abcF.-/", max_size=300),  # URLs and the like
    st.text(
        st.one_of(
            st.sampled_from("\n .-F=\t aé🌊"),
            st.characters(exclude_categories=["Cs"], exclude_characters="\r"),
        ),
        max_size=200,
    ),
)


@given(st.lists(texts, max_size=8))
def test_pieces_in_any_order_join_to_canonical_quoted_printable(pieces):
    joined = b"".join(map(qp_piece, pieces))
    for line in joined.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith((b".", b"-", b"F"))
        assert not line.endswith((b" ", b"\t"))
        assert b"  " not in line
        assert re.fullmatch(rb"[\x20-\x7e]*", line)
    assert quopri.decodestring(joined).decode() == "".join(pieces).replace("\n", "\r\n")


@given(texts)
def test_a_piece_ends_at_the_beginning_of_a_line(text):
    assert qp_piece(text).endswith(b"\r\n") or not text


def written_byte_by_byte(text):
    """The rules of the module once more, one byte at a time."""
    out, column, blank = [], 0, False
    for b in text.encode():
        if b == 10:
            if blank:
                out[-1] = "=20"
            out.append("\r\n")
            column, blank = 0, False
            continue
        plain = chr(b) if 33 <= b <= 126 and b != 61 else f"={b:02X}"
        written = " " if b == 32 and column and not blank else plain
        if column + len(written) > 72:
            out.append("=\r\n")
            column, written = 0, plain
        if not column and b in b".-F":
            written = f"={b:02X}"
        out.append(written)
        column += len(written)
        blank = written == " "
    return "".join([*out, "=\r\n"] if column else out).encode()


@settings(max_examples=500)
@given(texts | st.text("ab= .-Fé", min_size=60, max_size=260))
@example("a" * 72 + "-b")
@example("a" * 71 + "=")
@example("word " * 60)
@example("x" * 100_000)
def test_the_short_way_for_one_line_writes_the_same(text):
    assert qp_piece(text) == written_byte_by_byte(text)


@pytest.mark.parametrize("character", "-F.x=é ")
def test_the_short_way_breaks_lines_of_every_length_in_the_same_places(character):
    for before in (0, 1, 69, 70, 71, 72, 141, 142):
        for after in range(80):
            text = "x" * before + character + "y" * after
            assert qp_piece(text) == written_byte_by_byte(text)


def test_equals_signs_and_blanks_at_line_ends_are_escaped():
    assert qp_piece("a=b \nF .") == b"a=3Db=20\r\n=46 .=\r\n"
