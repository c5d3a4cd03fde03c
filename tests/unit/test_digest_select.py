from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from syndicate.digest.select import OTHER_LABEL, Selector, group_sections, order_articles, select_articles
from tests.digest_builders import OPENED_AT, make_article

TOPICS = ("Night Sky", "Coast")
tag_sets = st.sets(st.sampled_from(["night sky", "Coast", "Craft"])).map(tuple)


@given(
    st.dictionaries(st.integers(1, 30), tag_sets, max_size=12),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sets(st.sampled_from(["night-sky", "coast"])),
)
def test_a_reader_gets_exactly_what_is_new_in_the_chosen_topics(tags, watermark, cutoff, topics):
    articles = [make_article(n, tags=t) for n, t in tags.items()]
    expected = [
        n
        for n, t in tags.items()
        if watermark < n <= cutoff and (not topics or {"-".join(x.lower().split()) for x in t} & topics)
    ]
    selected = select_articles(articles, watermark=watermark, cutoff=cutoff, topics=topics)
    assert [a.id for a in selected] == expected
    bits = Selector(articles, cutoff=cutoff).select(watermark, topics)
    assert [a.id for i, a in enumerate(articles) if bits >> i & 1] == expected


@given(st.lists(tag_sets, max_size=10))
def test_sections_hold_each_article_once_in_the_first_topic_it_has(tags):
    articles = [make_article(n, tags=t) for n, t in enumerate(tags, 1)]
    sections = group_sections(articles, TOPICS)
    assert sorted(a.id for s in sections for a in s.articles) == [a.id for a in articles]
    for section in sections:
        for article in section.articles:
            if "night sky" in article.tags:
                assert section.label == "Night Sky"
            elif "Coast" in article.tags:
                assert section.label == "Coast"
            else:
                assert section.label == (OTHER_LABEL if len(sections) > 1 else "")


def test_sections_follow_the_operators_order_and_articles_are_newest_first():
    articles = [make_article(3, tags=("Coast",)), make_article(1), make_article(2, tags=("Coast",))]
    articles.append(make_article(4, tags=("Night Sky",)))
    assert [a.id for a in order_articles(articles, TOPICS)] == [4, 2, 3, 1]


def test_a_date_in_the_future_pins_no_article_to_the_top():
    pinned = make_article(2, published_at=OPENED_AT + timedelta(days=900))
    assert [a.id for a in order_articles([pinned, make_article(1)], ())] == [1, 2]
