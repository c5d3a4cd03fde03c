from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.opml import MAX_OUTLINES, Opml, OpmlFeed, build_opml, parse_opml
from syndicate.errors import ParseError

GOLDEN = Path(__file__).parent.parent / "golden" / "opml"


def read(document):
    return parse_opml(document if isinstance(document, bytes) else document.encode(), url="list.opml")


def opml(inside):
    return f'<?xml version="1.0"?>\n<opml version="2.0"><head/><body>\n{inside}\n</body></opml>'


def test_a_list_from_another_program_gives_its_feeds_with_topics_and_every_problem():
    found = read((GOLDEN / "from-elsewhere.opml").read_bytes())
    assert found.outlines == (
        OpmlFeed(
            title="The Lantern",
            xml_url="https://lantern.example/feed.xml",
            html_url="https://lantern.example/",
            topics=("News", "Sea & shore", "Harbours"),
        ),
        OpmlFeed(title="Salt, light", xml_url="http://salt.example/rss?a=1&b=2", topics=("News",)),
        OpmlFeed(title="nakhla.example", xml_url="https://nakhla.example/خلاصة", topics=("مجلات",)),
    )
    assert found.problems == (
        "line 12: http://lantern.example:80/feed.xml is there already as 'The Lantern'",
        "line 13: 'A note to self' has no xmlUrl, so it is no feed",
        "line 14: 'gopher://old.example/' is no http or https address",
    )


def test_a_list_is_written_by_topic_and_title_and_without_secrets():
    feeds = [
        OpmlFeed(title="Zebra", xml_url="https://z.example/feed"),
        OpmlFeed(title="Tides <1>", xml_url="https://t.example/f", topics=("Sea", "Salt, light", "/Moon")),
        OpmlFeed(
            title="Locked & found",
            xml_url="https://ada:secret@l.example/feed?format=rss&access_token=s3cret&key=k#top",
            html_url="https://ada@l.example/",
            topics=("Sea",),
        ),
        OpmlFeed(title="Zebra again", xml_url="http://z.example/feed?utm_source=x"),
        OpmlFeed(title="نخلة", xml_url="https://n.example/feed", topics=("مجلات",)),
    ]
    assert build_opml("Our feeds", feeds) == (GOLDEN / "written.opml").read_bytes()
    assert build_opml("Our feeds", feeds[::-1]) == (GOLDEN / "written.opml").read_bytes()


def test_an_empty_list_is_a_document():
    assert read(build_opml("Nothing yet", [])) == Opml(outlines=(), problems=())


@pytest.mark.parametrize(
    "given",
    ["feed://a.example/x", "feed:https://a.example/x", "Feed://https://a.example/x", " https://a.example/x "],
)
def test_an_address_is_understood_however_programs_write_it(given):
    (feed,) = read(opml(f'<outline text="A" XMLURL="{given}"/>')).outlines
    assert feed.xml_url.removeprefix("https").removeprefix("http") == "://a.example/x"


def test_a_name_may_be_escaped_twice_and_hold_markup():
    (feed,) = read(
        opml('<outline text="&lt;b&gt;Q&amp;amp;A&lt;/b&gt; & more &nbsp;" xmlUrl="http://a.example/"/>')
    ).outlines
    assert feed.title == "Q&A & more"


def test_a_list_that_broke_off_gives_what_came_before_and_says_so():
    whole = opml(
        '<outline text="A" xmlUrl="http://a.example/"/>\n<outline text="B" xmlUrl="http://b.example/"/>'
    )
    found = read(whole[: whole.index("http://b")])
    assert [feed.title for feed in found.outlines] == ["A"]
    assert found.problems[-1] == "the document broke off before its end; feeds may be missing"


def test_outlines_nest_ten_deep_and_no_deeper():
    leaf = '<outline text="L" xmlUrl="http://l.example/"/>'
    inside = "".join(f'<outline text="{n}">' for n in range(9)) + leaf + "</outline>" * 9
    assert len(read(opml(inside)).outlines[0].topics) == 9
    found = read(opml(f'<outline text="x">{inside}</outline>'))
    assert found.outlines == ()
    assert found.problems == ("line 3: is nested deeper than 10 outlines and left out",)


def test_more_outlines_than_anybody_reads_are_left_out_and_said():
    found = read(opml("".join(f'<outline text="{n}" xmlUrl="http://a.example/{n}"/>' for n in range(5_003))))
    assert len(found.outlines) == MAX_OUTLINES
    assert found.problems == ("line 3: there are more than 5,000 outlines; the rest is left out",)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("", "empty"),
        ("<!DOCTYPE html><html><body>opml</body></html>", "not_opml"),
        ("<rss><channel/></rss>", "not_opml"),
        ("https://a.example/feed", "not_opml"),
        ("<opml><body>" + "<outline>" * 50_000, "xml_limit"),
    ],
)
def test_what_is_no_list_is_refused_with_a_reason(document, expected):
    with pytest.raises(ParseError) as caught:
        read(document)
    assert caught.value.reason == expected
    assert "\n" not in str(caught.value)


def test_entities_mean_nothing():
    document = (
        '<!DOCTYPE opml [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        + opml('<outline text="&a;" xmlUrl="http://a.example/"/>&a;').partition("\n")[2]
    )
    assert [feed.title for feed in read(document).outlines] == ["&a;"]


TEXTS = st.text(max_size=40) | st.text("<>&;amplt'\"/, \n\t#x1b0", max_size=40)
URLS = st.builds(
    "{}://{}{}.example{}/{}".format,
    st.sampled_from(["http", "https", "ftp", "HTTPS"]),
    st.sampled_from(["", "ada@", "ada:pw@"]),
    st.text("abcdéل", min_size=1, max_size=3),
    st.sampled_from(["", ":80", ":8080"]),
    TEXTS | st.sampled_from(["?token=1&x=2", "?x=%20&auth_key=1", "a?b&c;d=e#f"]),
)
FEEDS = st.lists(
    st.builds(
        OpmlFeed,
        title=TEXTS,
        xml_url=URLS,
        html_url=URLS | st.just(""),
        topics=st.lists(TEXTS, max_size=4).map(tuple),
    ),
    max_size=8,
)


@given(title=TEXTS, feeds=FEEDS)
def test_writing_reading_and_writing_again_gives_equal_bytes(title, feeds):
    first = build_opml(title, feeds)
    found = read(first)
    assert found.problems == ()
    assert build_opml(title, found.outlines) == first
    assert build_opml(title, feeds[::-1]) == first


@given(feeds=FEEDS)
def test_no_password_is_ever_written(feeds):
    assert b"pw@" not in build_opml("x", feeds)
