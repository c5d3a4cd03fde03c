from datetime import UTC, datetime

import pytest

from syndicate.collect.parse import parse_document
from syndicate.errors import ParseError
from tests.malformed_feeds import GOOD, HAND_MADE, malformed

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
URL = "https://feeds.example/all.xml"
#: What a message may advise.
ADVICE = ("check the address", "tell its publisher", "asked again", "use that address")
#: What it has to be able to say, so that no two of these look alike to an operator.
SAID = {
    "nothing": "is empty",
    "a page": "is a web page",
    "an outline": "it begins with '<opml",
    "a page with a tag named rss": "its first element is 'rss-reader'",
    "a bomb in gzip": "is compressed twice",
    "a declaration only": "behind its first line",
    "the beginning of a tag": "begins like a feed",
    "a chapter without a start": "cannot be read (TypeError)",
    "JSON: an error": "is JSON and no JSON Feed",
    "JSON: cut off": "is no valid JSON (Expecting ',' delimiter, line 1)",
    "JSON: a number beyond measure": "a number that no program takes",
    "JSON: levels": "nests deeper",
    "levels": "beyond every measure",
    "attributes": "more than 100 attributes",
}


def parse(body):
    return parse_document(body, url=URL, content_type="text/html", now=NOW)


def guids(body):
    # What stands behind the bar depends on whether another article has the same guid.
    return {article.guid.partition("|")[0] for article in parse(body).articles}


def assert_helps(error):
    text = str(error)
    assert text.startswith(f"{URL}: ")
    assert text.isprintable(), text  # one line, and nothing that a terminal obeys
    assert len(text) < 300
    assert any(advice in text for advice in ADVICE), text


@pytest.mark.parametrize("good", GOOD)
def test_a_spoiled_feed_gives_articles_of_the_whole_one_or_a_reason(good):
    whole = guids(GOOD[good])
    for name, fault, body in malformed():
        if name == good:
            try:
                found = guids(body)
            except ParseError as error:
                assert_helps(error)
            else:
                assert found <= whole, f"{fault} made an article that never was"


def test_there_are_enough_of_them():
    assert len(list(malformed())) + len(HAND_MADE) > 200


@pytest.mark.parametrize("name", [name for name, (_, reason) in HAND_MADE.items() if reason])
def test_what_is_no_feed_is_refused_with_what_it_is_and_what_to_do(name):
    body, reason = HAND_MADE[name]
    with pytest.raises(ParseError) as caught:
        parse(body)
    assert caught.value.reason == reason
    assert_helps(caught.value)
    assert SAID.get(name, "") in str(caught.value)


@pytest.mark.parametrize("name", [name for name, (_, reason) in HAND_MADE.items() if not reason])
def test_a_feed_of_nothing_gives_no_article(name):
    assert parse(HAND_MADE[name][0]).articles == ()


def test_a_document_that_breaks_off_in_a_character_keeps_the_others():
    item = "<item><guid>1</guid><title>塩と石板</title></item>"
    source = parse(f'<rss version="2.0"><channel>{item}</channel></rss>塩'.encode()[:-1])
    assert [a.title for a in source.articles] == ["塩と石板"]
    assert source.note == "read as damaged utf-8"
