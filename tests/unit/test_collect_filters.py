import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.filters import Action, Rule, Trait, decide_filter, map_topics, parse_rule
from syndicate.model import Author, ParsedArticle


def article(title="A day at sea", *, authors=(), tags=(), language=""):
    return ParsedArticle(
        guid="a",
        url="",
        title=title,
        content_html="<p>Text</p>",
        summary="",
        authors=authors,
        tags=tags,
        language=language,
    )


def reason(one, *lines):
    return decide_filter(one, [parse_rule(line) for line in lines])


def fits(line, one):
    return parse_rule(line).fits(one)


@pytest.mark.parametrize(
    ("title", "is_kept"),
    [
        ("Sponsored: a better lamp", False),
        ("An ADVERTISEMENT", False),
        ("A day at sea", True),
    ],
)
def test_a_pattern_is_sought_anywhere_whatever_the_case(title, is_kept):
    assert (reason(article(title), "exclude title /sponsored|advert/") == "") is is_kept


def test_the_reason_is_the_rule_that_excludes():
    found = reason(article("A day at sea"), "exclude language de", 'exclude title   "Day at   SEA"')
    assert found == "exclude title Day at SEA"


def test_words_of_a_title_have_to_be_whole():
    assert fits("exclude title ad", article("An ad for lamps"))
    assert fits("exclude title ad", article("AD: lamps"))
    assert not fits("exclude title ad", article("A ladder and an adder"))
    assert fits("exclude title c++", article("Why C++?"))
    assert fits("exclude title 2", article("Part 2"))
    assert not fits("exclude title 2", article("Part 12"))


def test_words_of_a_script_without_spaces_need_none():
    assert fits("exclude title 体育", article("今日体育新闻"))


def test_an_author_is_found_by_words_of_the_name_or_by_address():
    one = article(authors=(Author(name="The Press Office"), Author(name="B", email="b@example.org")))
    assert fits('exclude author "press office"', one)
    assert fits("exclude author b@example.org", one)
    assert not fits("exclude author Press Officer", one)


def test_a_category_is_the_whole_label():
    one = article(tags=("Water sport", "Coast"))
    assert fits("include category COAST", one)
    assert not fits("include category sport", one)
    assert fits("include category /sport$/", one)


def test_a_language_means_its_regional_forms_and_no_other_language():
    assert fits("exclude language de", article(language="de-AT"))
    assert fits("exclude language DE", article(language="de"))
    assert not fits("exclude language de", article(language="den"))
    assert not fits("exclude language de", article())


def test_letters_that_are_composed_differently_are_the_same():
    typed = unicodedata.normalize("NFD", "Küste")
    assert fits(f"include category {typed}", article(tags=("KÜSTE",)))


def test_with_includes_an_article_needs_one_and_an_exclude_wins():
    rules = ("include category coast", "include title lamp", "exclude title advert")
    assert reason(article("A lamp"), *rules) == ""
    assert reason(article(tags=("coast",)), *rules) == ""
    assert reason(article("A moth"), *rules) == "no include rule fits"
    assert reason(article("Advert for a lamp"), *rules) == "exclude title advert"
    assert reason(article()) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "'' is no rule; write it like: exclude title /sponsored/"),
        ("exclude title", "'exclude title' is no rule"),
        ("drop title x", "a rule begins with include or exclude, not 'drop'"),
        ("exclude body x", "a rule is about title, author, category, language, not 'body'"),
        ("exclude title /open", "the pattern /open has to stand between two slashes"),
        ("exclude title //", "the pattern // has to stand between two slashes"),
        ("exclude title /(/", "the pattern /(/ cannot be used: missing )"),
        ("exclude title /(?=a)b/", "the pattern /(?=a)b/ cannot be used: invalid perl operator"),
        ('exclude title ""', '"" is neither words nor a pattern'),
        ('exclude title "open', '"open is neither words nor a pattern'),
        ("exclude title a\nb", "is no rule"),
        ("exclude title " + "x" * 600, "is no rule"),
        ("exclude title /((((x{30}){30}){1})|y){30}/", "cannot be used"),
    ],
)
def test_a_rule_that_cannot_be_read_says_why_in_one_line(line, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse_rule(line)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.sampled_from(Action), st.sampled_from(Trait), st.text(min_size=1, max_size=40))
def test_a_rule_of_words_as_text_is_the_rule(action, trait, text):
    words = " ".join(text.split())
    if not words or not words.isprintable():
        return
    rule = Rule(action=action, trait=trait, text=words)
    assert parse_rule(str(rule)) == rule


@given(st.text(max_size=60))
def test_any_line_is_a_rule_that_reads_itself_or_a_value_error(text):
    try:
        rule = parse_rule(f"exclude title {text}")
    except ValueError:
        return
    assert parse_rule(str(rule)) == rule
    rule.fits(article("Any title at all"))


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*)*x", "a*a*a*a*a*a*a*b"])
def test_a_pattern_that_would_take_others_for_ever_takes_linear_time(pattern):
    began = time.process_time()
    assert not fits(f"exclude title /{pattern}/", article("a" * 20_000 + "!"))
    assert time.process_time() - began < 5


def test_labels_of_a_source_become_ours_or_go():
    one = article(tags=("Meer", "KÜSTE", "Werbung", "Other", "sea"))
    mapped = map_topics(one, {"meer": "Sea", "küste": "Coast", "werbung": "", "SEA": "Sea"})
    assert mapped.tags == ("Sea", "Coast", "Other")
    assert map_topics(one, {"nothing": "x"}) is one
