import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.charset import charset_of, decode, xml_charset


@pytest.mark.parametrize(
    ("body", "declared", "text"),
    [
        ("é".encode(), ["iso-8859-1"], "é"),
        ("é".encode("latin-1"), ["utf-8"], "é"),
        ("€".encode("cp1252"), ["iso-8859-1"], "€"),
        ("ж".encode("koi8-r"), ["koi8-r"], "ж"),
        (codecs.BOM_UTF8 + "é".encode(), [], "é"),
        ("é".encode("utf-16"), [], "é"),
        (codecs.BOM_UTF32_LE + "é".encode("utf-32-le"), [], "é"),
        ("é".encode("utf-16-le"), ["utf-16-le"], "é"),
        (b"plain", ["utf-16"], "plain"),
        ("日本".encode("iso-2022-jp"), ["iso-2022-jp"], "日本"),
        (b"caf\xe9 \x81", [], "café \ufffd"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_is_in(body, declared, text):
    assert decode(body, declared)[0] == text


@pytest.mark.parametrize("name", ["punycode", "utf-7", "unicode_escape", "hex", "zip", "no-such", "\x00"])
def test_no_stranger_chooses_a_codec_that_is_no_charset(name):
    assert decode(b"a\xe9-+ADw-\\x41\x1b", [name]) == ("aé-+ADw-\\x41\x1b", "windows-1252")


@given(st.binary(), st.lists(st.text(max_size=12) | st.sampled_from(["utf-16", "big5", "euc-jp", "utf-32"])))
def test_no_bytes_make_it_fail(body, declared):
    decode(body, declared)[0].encode()


def test_labels_are_found_where_they_stand():
    assert charset_of('text/xml; charset="UTF-8"') == "UTF-8"
    assert charset_of("text/xml") == ""
    assert xml_charset(b'<?xml version="1.0" encoding="koi8-r"?><a/>') == "koi8-r"
    assert xml_charset(b"<a/>") == ""
