import gzip
import zlib
from functools import partial

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.unpack import UnpackError, unpack


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    " GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "identity": bytes,
    "": bytes,
}


def reason(packed, encoding, max_bytes=1000):
    with pytest.raises(UnpackError) as caught:
        unpack(packed, encoding, max_bytes=max_bytes)
    return caught.value.reason


@pytest.mark.parametrize("encoding", PACKERS)
@given(body=st.binary(max_size=3000))
def test_what_was_packed_comes_out_as_it_was(encoding, body):
    assert unpack(PACKERS[encoding](body), encoding, max_bytes=3000) == body


@pytest.mark.parametrize("encoding", PACKERS)
def test_the_limit_is_exact(encoding):
    packed = PACKERS[encoding](b"x" * 1000)
    assert len(unpack(packed, encoding, max_bytes=1000)) == 1000
    assert reason(packed, encoding, max_bytes=999) == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate", "br"])
@given(data=st.data())
def test_a_body_that_ends_in_the_middle_is_never_taken_for_a_whole_one(encoding, data):
    packed = PACKERS[encoding](data.draw(st.binary(min_size=1, max_size=500)))
    end = data.draw(st.integers(0, len(packed) - 1))
    assert reason(packed[:end], encoding) in {"short_body", "bad_encoding"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@given(packed=st.binary(max_size=200))
def test_whatever_comes_in_is_unpacked_or_refused(encoding, packed):
    try:
        assert len(unpack(packed, encoding, max_bytes=500)) <= 500
    except UnpackError as error:
        assert error.reason in {"too_large", "short_body", "bad_encoding"}  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    "encoding", ["gzip, gzip", "gzip,br", "identity, gzip", "compress", "zstd", "aws-chunked"]
)
def test_layers_and_unknown_packings_are_refused(encoding):
    assert reason(gzip.compress(b"x"), encoding) == "bad_encoding"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_ends_at_the_limit(encoding):
    packer = partial(brotli.compress, quality=1) if encoding == "br" else PACKERS[encoding]
    bomb = packer(bytes(50_000_000))
    assert reason(bomb, encoding, max_bytes=2**20) == "too_large"


def test_parts_of_a_gzip_body_are_joined_padding_is_overlooked_and_a_million_parts_are_not_read():
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", max_bytes=2) == b"ab"
    assert unpack(gzip.compress(b"a") + bytes(512), "gzip", max_bytes=1) == b"a"
    assert reason(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", max_bytes=1) == "too_large"
    assert reason(gzip.compress(b"a") + gzip.compress(b"b")[:-1], "gzip") == "short_body"
    assert reason(gzip.compress(b"") * 100_000, "gzip") == "bad_encoding"


def test_a_page_that_claims_to_be_packed_is_refused():
    assert reason(b"<rss></rss>", "gzip") == "bad_encoding"
