import quopri
import re

from hypothesis import given
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


def test_equals_signs_and_blanks_at_line_ends_are_escaped():
    assert qp_piece("a=b \nF .") == b"a=3Db=20\r\n=46 .=\r\n"
