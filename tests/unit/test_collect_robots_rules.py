import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.robots_rules import ALLOW_ALL, DISALLOW_ALL, parse_robots


def parse(text):
    return parse_robots(text.encode(), agent="Syndicate")


def allows(rules, path):
    return parse(f"User-agent: *\n{rules}").may_fetch(path)


@pytest.mark.parametrize(
    ("rules", "path", "may"),
    [
        ("Disallow:", "/a", True),
        ("Disallow: /", "/a", False),
        ("Disallow: /", "/robots.txt", True),
        ("Disallow: /a", "/a", False),
        ("Disallow: /a", "/about", False),
        ("Disallow: /a/", "/a", True),
        ("Disallow: /a", "/A", True),
        ("Disallow: /wp-admin/\nAllow: /wp-admin/admin-ajax.php", "/wp-admin/admin-ajax.php", True),
        ("Allow: /wp-admin/admin-ajax.php\nDisallow: /wp-admin/", "/wp-admin/x", False),
        ("Disallow: /p\nAllow: /p", "/p", True),
        ("Allow: /\nDisallow: /news", "/news/1", False),
        ("Disallow: /*?s=", "/?s=x", False),
        ("Disallow: /*?s=", "/a?t=1&s=x", True),
        ("Disallow: /*.gif$", "/a/b.gif", False),
        ("Disallow: /*.gif$", "/a/b.gif?x", True),
        ("Disallow: /*.gif$", "/a.gif/b.gif", False),
        ("Disallow: /a$", "/a", False),
        ("Disallow: /a$", "/ab", True),
        ("Disallow: /a*b*c", "/a-c-b-c", False),
        ("Disallow: /a*b*c", "/a-c-b", True),
        ("Disallow: /ab*ba$", "/aba", True),
        ("Disallow: /ab*ba$", "/abba", False),
        ("Disallow: *private", "/very/private", False),
        ("Disallow: /*", "/", False),
        ("Disallow: /über", "/%C3%BCber", False),
        ("Disallow: /%c3%bcber", "/%C3%BCber", False),
        ("Disallow: /%7Ejoe", "/~joe", False),
        ("Disallow: /a%2Fb", "/a/b", True),
        ("Disallow: /a # all of it", "/a", False),
        ("  disALLOW :  /a  ", "/a", False),
        ("Disallow /a", "/a", True),
        ("Noindex: /a", "/a", True),
        ("Disallow: https://example.org/a", "/a", True),
    ],
)
def test_the_longest_rule_that_fits_decides(rules, path, may):
    assert allows(rules, path) is may


def test_who_is_named_obeys_the_groups_that_name_them_and_nobody_elses():
    rules = parse(
        "User-agent: *\nDisallow: /all\n\n"
        "User-agent: Other\nUser-agent: SYNDICATE/2.0 (news)\n\nDisallow: /ours\nCrawl-delay: 3\n"
        "User-agent: Syndicator\nDisallow: /theirs\n"
        "User-agent: syndicate\nDisallow: /too\nCrawl-delay: 2.5\n"
    )
    assert [rules.may_fetch(path) for path in ("/all", "/ours", "/theirs", "/too")] == [
        True,
        False,
        True,
        False,
    ]
    assert rules.crawl_delay_s == 3.0


def test_an_empty_group_of_our_own_allows_everything():
    assert parse("User-agent: *\nDisallow: /\nUser-agent: Syndicate\nDisallow:\n").may_fetch("/a")
    assert parse("User-agent: Syndicate\n\nUser-agent: *\nDisallow: /").may_fetch("/a") is False


def test_rules_before_any_agent_bind_nobody():
    assert parse("Disallow: /\nUser-agent: other\nDisallow: /").may_fetch("/a")


@pytest.mark.parametrize(
    ("given_delay", "seconds"),
    [("10", 10.0), ("0.5", 0.5), ("86400", 60.0), ("soon", None), ("-1", None), ("nan", None), ("", None)],
)
def test_the_pause_between_pages_is_a_number_of_at_most_a_minute(given_delay, seconds):
    assert parse(f"User-agent: *\nCrawl-delay: {given_delay}").crawl_delay_s == seconds


def test_sitemaps_belong_to_no_group_and_end_none():
    rules = parse(
        "Sitemap: https://example.org/1.xml\nUser-agent: *\nSitemap: https://example.org/2.xml\n"
        "User-agent: other\nDisallow: /a\nsitemap:https://example.org/3.xml\nDisallow: /b\nSitemap:\n"
    )
    assert rules.sitemaps == tuple(f"https://example.org/{n}.xml" for n in (1, 2, 3))
    assert not rules.may_fetch("/a")
    assert not rules.may_fetch("/b")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_end_and_a_byte_order_mark_are_read(line_end):
    rules = parse_robots(f"\ufeffUser-agent: *{line_end}Disallow: /a{line_end}".encode(), agent="Syndicate")
    assert not rules.may_fetch("/a")


def test_what_stands_behind_500_kib_is_not_read():
    head = "User-agent: *\nDisallow: /a\n"
    assert not parse(head + "#" * 400_000 + "\nDisallow: /b").may_fetch("/b")
    assert parse(head + "#" * 512_000 + "\nDisallow: /b").may_fetch("/b")


def test_a_page_instead_of_rules_allows_everything():
    assert parse("<!doctype html><title>Not found: sorry</title>").may_fetch("/a")
    assert ALLOW_ALL.may_fetch("/a")
    assert not DISALLOW_ALL.may_fetch("/a")


def test_a_pattern_made_to_be_slow_is_not():
    rules = parse("User-agent: *\nDisallow: /" + "*a" * 2000 + "$")
    assert rules.may_fetch("/" + "a" * 3000 + "b")


@given(st.binary(max_size=300), st.text(max_size=40))
def test_no_file_is_too_odd_to_be_read(body, path):
    rules = parse_robots(b"User-agent: *\nDisallow: /*x\n" + body, agent="Syndicate")
    assert rules.may_fetch(path) in {True, False}
