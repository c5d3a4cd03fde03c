import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from syndicate.collect.waits import find_fresh_s, find_retry_after_s

TEN = "Thu, 08 Feb 2024 10:00:00 GMT"
ELEVEN = "Thu, 08 Feb 2024 11:00:00 GMT"


def headers(**given):
    return CIMultiDict({name.replace("_", "-"): value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given_headers", "seconds"),
    [
        ({}, None),
        ({"Cache_Control": "max-age=600"}, 600.0),
        ({"Cache_Control": "public , MAX-AGE = 600"}, 600.0),
        ({"Cache_Control": 'max-age="600"'}, 600.0),
        ({"Cache_Control": "max-age=600", "Age": "100"}, 500.0),
        ({"Cache_Control": "max-age=600", "Age": "1000"}, 0.0),
        ({"Cache_Control": "max-age=600", "Age": "soon"}, 600.0),
        ({"Cache_Control": "max-age=31536000"}, 86_400.0),
        ({"Cache_Control": "max-age=0"}, 0.0),
        ({"Cache_Control": "s-maxage=600"}, None),
        ({"Cache_Control": "x-max-age=600"}, None),
        ({"Cache_Control": "max-age=-600"}, None),
        ({"Cache_Control": "max-age=" + "9" * 400}, 86_400.0),
        ({"Cache_Control": "no-cache, max-age=600"}, None),
        ({"Cache_Control": 'no-cache="Set-Cookie", max-age=600'}, None),
        ({"Cache_Control": "max-age=600, No-Store", "Expires": ELEVEN, "Date": TEN}, None),
        ({"Expires": ELEVEN, "Date": TEN}, 3600.0),
        ({"Expires": ELEVEN, "Date": TEN, "Cache_Control": "public"}, 3600.0),
        ({"Expires": ELEVEN, "Date": TEN, "Cache_Control": "max-age=60"}, 60.0),
        ({"Expires": TEN, "Date": ELEVEN}, 0.0),
        ({"Expires": "0", "Date": TEN}, None),
        ({"Expires": "Thu, 08 Feb 2029 10:00:00 GMT", "Date": TEN}, 86_400.0),
        ({"Expires": ELEVEN}, None),
    ],
)
def test_how_long_a_document_is_fresh_is_read_from_its_head(given_headers, seconds):
    assert find_fresh_s(headers(**given_headers)) == seconds


def test_directives_may_stand_in_several_lines():
    found = headers(Cache_Control="max-age=600")
    found.add("Cache-Control", "no-cache")
    assert find_fresh_s(found) is None


@pytest.mark.parametrize(
    ("given_headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "120"}, 120.0),
        ({"Retry_After": " 120 "}, 120.0),
        ({"Retry_After": "0"}, 60.0),
        ({"Retry_After": "999999999"}, 604_800.0),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "9" * 400}, None),
        ({"Retry_After": ELEVEN, "Date": TEN}, 3600.0),
        ({"Retry_After": TEN, "Date": ELEVEN}, 60.0),
        ({"Retry_After": "Thu, 08 Feb 2029 10:00:00 GMT", "Date": TEN}, 604_800.0),
        ({"Retry_After": ELEVEN}, None),
        ({"Retry_After": "Thursday, 08-Feb-24 11:00:00 GMT", "Date": TEN}, 3600.0),
    ],
)
def test_what_a_server_asks_us_to_wait_is_a_minute_to_a_week_by_its_own_clock(given_headers, seconds):
    assert find_retry_after_s(headers(**given_headers)) == seconds


@given(
    st.dictionaries(
        st.sampled_from(["Cache-Control", "Age", "Expires", "Date", "Retry-After"]),
        st.text(max_size=40) | st.sampled_from([TEN, ELEVEN, "max-age=7", "Thu, 99 Feb 99999 10:00:00 GMT"]),
    )
)
def test_no_head_is_too_odd_to_be_read(given_headers):
    found = CIMultiDict(given_headers)
    assert 0 <= (find_fresh_s(found) or 0) <= 86_400
    assert 60 <= (find_retry_after_s(found) or 60) <= 604_800
