import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.deliver.wire import encode_content
from syndicate.digest.compile import compile_edition
from tests.digest_builders import make_article, make_edition, make_message, make_newsletter

hostile = st.sampled_from(
    [".", "\r\n.\r\nMAIL FROM:<x@y.example>\r\n", "\n.\n", "\r.\r", "a\0b", "é. " * 60, ". " * 90, "." * 200]
) | st.text("\r\n. =Fé", min_size=1, max_size=90)


def assert_canonical(message: bytes) -> None:
    assert message.isascii()
    assert encode_content(message) == message + b".\r\n"


@settings(max_examples=20, deadline=None)
@given(title=hostile, name=hostile, body=hostile)
def test_what_an_edition_composes_may_go_out_unread(title: str, name: str, body: str) -> None:
    article = make_article(title=title, summary=body, content_html=f"<p>{body}</p>")
    newsletter = make_newsletter(title=title, description=body)
    edition = compile_edition(make_edition([article], newsletter=newsletter))
    assert_canonical(make_message(edition, [article.id], name=name))


@pytest.mark.parametrize("message", [b"a\n\r\n", b".\r\n", b"\r\n.x\r\n", b"a", b"\0\r\n", "é\r\n".encode()])
def test_the_assertion_would_notice(message: bytes) -> None:
    with pytest.raises(Exception, match=r"assert|line|NUL"):
        assert_canonical(message)
