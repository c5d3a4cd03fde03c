from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.publish.document import Document, is_not_modified, make_document, response_headers

CHANGED_AT = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
CHANGED = "Sat, 14 Mar 2026 09:26:53 GMT"
DOCUMENT = make_document(b"<rss/>", "application/rss+xml; charset=utf-8", CHANGED_AT)
OTHER = '"of-another,version"'


def test_a_document_keeps_what_it_was_made_of() -> None:
    assert (DOCUMENT.body, DOCUMENT.media_type) == (b"<rss/>", "application/rss+xml; charset=utf-8")
    assert DOCUMENT.last_modified_at == CHANGED_AT


def test_the_etag_is_strong_and_quoted_and_follows_the_bytes_alone() -> None:
    later = make_document(DOCUMENT.body, DOCUMENT.media_type, CHANGED_AT + timedelta(days=1))
    other = make_document(b"<rss />", DOCUMENT.media_type, CHANGED_AT)
    assert re.fullmatch(r'"[0-9a-f]{32}"', DOCUMENT.etag)
    assert later.etag == DOCUMENT.etag
    assert other.etag != DOCUMENT.etag


@pytest.mark.parametrize(
    ("if_none_match", "expected"),
    [
        (DOCUMENT.etag, True),
        (f"W/{DOCUMENT.etag}", True),
        (f"{OTHER}, {DOCUMENT.etag}", True),
        (f'W/"a",{DOCUMENT.etag} , "b"', True),
        ("*", True),
        (" * ", True),
        (OTHER, False),
        (DOCUMENT.etag.strip('"'), False),
        (f'"{OTHER}', False),
        ("", False),
        ("rubbish", False),
    ],
)
def test_if_none_match_is_a_list_compared_weakly(if_none_match: str, *, expected: bool) -> None:
    assert is_not_modified(DOCUMENT, if_none_match=if_none_match, if_modified_since=None) is expected


@pytest.mark.parametrize(
    ("if_modified_since", "expected"),
    [
        (CHANGED, True),
        ("Saturday, 14-Mar-26 09:26:53 GMT", True),
        ("Sat Mar 14 09:26:53 2026", True),
        ("Sun, 15 Mar 2026 00:00:00 GMT", True),
        ("Sat, 14 Mar 2026 09:26:52 GMT", False),
        ("Fri, 13 Mar 2026 23:00:00 GMT", False),
        ("2026-03-15", False),
        ("tomorrow", False),
        ("", False),
        (None, False),
    ],
)
def test_if_modified_since_counts_in_whole_seconds_and_in_each_form_of_date(
    if_modified_since: str | None, *, expected: bool
) -> None:
    assert is_not_modified(DOCUMENT, if_none_match=None, if_modified_since=if_modified_since) is expected


def test_if_none_match_has_the_word_alone_when_both_are_sent() -> None:
    assert not is_not_modified(DOCUMENT, if_none_match=OTHER, if_modified_since=CHANGED)
    assert is_not_modified(
        DOCUMENT, if_none_match=DOCUMENT.etag, if_modified_since="Fri, 13 Mar 2026 23:00:00 GMT"
    )


def test_a_client_that_sends_back_our_own_headers_has_the_document() -> None:
    headers = response_headers(DOCUMENT)
    assert is_not_modified(DOCUMENT, if_none_match=headers["ETag"], if_modified_since=None)
    assert is_not_modified(DOCUMENT, if_none_match=None, if_modified_since=headers["Last-Modified"])


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,25} Mar [0-9]{1,25} [0-9:]{1,12} [+-][0-9]{1,25}"))
def test_no_header_whatever_it_says_breaks_the_answer(text: str) -> None:
    fresh = make_document(b"", "text/plain", datetime.max.replace(tzinfo=UTC))
    assert not is_not_modified(fresh, if_none_match=f"x{text}", if_modified_since=None)
    assert is_not_modified(fresh, if_none_match=None, if_modified_since=text) in (True, False)


def test_the_headers_name_the_validators_and_let_caches_and_other_sites_have_the_feed() -> None:
    assert response_headers(DOCUMENT) == {
        "ETag": DOCUMENT.etag,
        "Last-Modified": CHANGED,
        "Cache-Control": "max-age=300, stale-while-revalidate=300",
        "Access-Control-Allow-Origin": "*",
    }


def test_last_modified_is_in_gmt_wherever_the_instant_was_written() -> None:
    abroad = CHANGED_AT.astimezone(timezone(timedelta(hours=9)))
    document = Document(body=b"", media_type="text/plain", etag='"e"', last_modified_at=abroad)
    assert response_headers(document)["Last-Modified"] == CHANGED
