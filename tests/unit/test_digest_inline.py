import re
from collections import Counter

import css_inline
import pytest
from lxml import etree

from syndicate.digest.inline import inline_css
from syndicate.digest.render import render_template
from syndicate.digest.select import group_sections
from syndicate.digest.tokens import Placeholders
from syndicate.digest.view import newsletter_values, view_sections
from tests.digest_builders import TEMPLATES, make_edition


@pytest.fixture(scope="module")
def rendered():
    edition = make_edition()
    newsletter = edition.newsletter
    values = newsletter_values(newsletter) | {
        "opened_at": edition.opened_at,
        "sections": view_sections(
            group_sections(edition.articles, newsletter.topics), newsletter, edition.article_urls
        ),
        "home_url": edition.home_url,
        "home_host": "letters.example.org",
        "archive_url": edition.archive_url,
    }
    return render_template(
        [TEMPLATES], "email/digest.html", values | Placeholders("email/digest.html", "0123456789").values
    )


def block(html, kept):
    styles = re.findall(r"<style( data-premailer=\"ignore\")?>(.*?)</style>", html, re.DOTALL)
    return next(css for mark, css in styles if bool(mark) == kept)


def normal(value):
    value = re.sub(
        r"#([0-9a-f])([0-9a-f])([0-9a-f])\b",
        r"#\1\1\2\2\3\3",
        re.sub(r"\s*,\s*", ", ", value.strip().lower()),
    )
    return re.sub(r"\b0(?:px|pt)\b", "0", value)


def declarations(style):
    pairs = [d.partition(":") for d in style.split(";") if d.strip()]
    return {name.strip(): normal(value) for name, _, value in pairs}


def styles_of(html):
    root = etree.fromstring(html, etree.HTMLParser())
    return [
        (e.tag, e.get("class", ""), declarations(e.get("style", "")))
        for e in root.find("body").iter(etree.Element)
    ]


def test_premailer_and_another_inliner_agree_on_every_element_of_the_digest(rendered):
    ours = styles_of(inline_css(rendered, template="t"))
    oracle = css_inline.CSSInliner(keep_style_tags=False, load_remote_stylesheets=False)
    marked = rendered.replace("data-premailer=", "data-css-inline=")
    assert ours == styles_of(oracle.inline(marked))


def test_every_declaration_of_the_inlined_block_arrives(rendered):
    arrived = Counter()
    for _, names, style in styles_of(inline_css(rendered, template="t")):
        for name in names.split():
            arrived.update((name, item) for item in style.items())
    for name, body in re.findall(r"\.([\w-]+) \{([^}]*)\}", block(rendered, kept=False)):
        if f'class="{name}"' in rendered:
            assert all(arrived[name, item] for item in declarations(body).items()), name


def test_the_kept_block_passes_byte_for_byte(rendered):
    assert f"<style>{block(rendered, kept=True)}</style>" in inline_css(rendered, template="t")


def test_the_inlined_block_has_nothing_that_premailer_would_drop_or_misplace(rendered):
    css = block(rendered, kept=False)
    for trap in (
        "@",
        "!important",
        ":hover",
        ":first",
        ":last",
        ":nth",
        " + ",
        " > ",
        "~",
        "*",
        "[",
        "rgb(0 ",
    ):
        assert trap not in css


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("kept", "papers"), [(False, ["#fffdf9", "#f5f0e6"]), (True, ["#1c1a18", "#272420"])]
)
def test_every_text_has_enough_contrast_in_light_and_dark(rendered, kept, papers):
    colours = re.findall(r"([^{}]+)\{[^}]*?(?<!-)color: (#[0-9a-f]{6})", block(rendered, kept=kept))
    seen = [c for selector, c in colours if ".preheader" not in selector and ".button" not in selector]
    assert len(seen) > 5
    for colour in seen:
        for paper in papers:
            assert contrast(colour, paper) >= 4.5, (colour, paper)
