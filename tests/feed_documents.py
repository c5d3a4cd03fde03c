"""Feeds written at random over every construct that the fast path claims, and some that it does not."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

NAMESPACES = (
    'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:dcterms="http://purl.org/dc/terms/" xmlns:media="http://search.yahoo.com/mrss/" '
    'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:atom="http://www.w3.org/2005/Atom" '
    'xmlns:sy="http://purl.org/rss/1.0/modules/syndication/" xmlns:x="https://example.org/ns" '
    'xmlns:slash="http://purl.org/rss/1.0/modules/slash/" xmlns:thr="http://purl.org/syndication/thread/1.0"'
)
WORDS = st.sampled_from(
    [
        "",
        "Harbour",
        "Salt & slate",
        "1 < 2",
        "caf\u00e9",
        "ca\u00c3\u00a9",
        "a\u0092b",
        "日本",
        "  two  words ",
        "\U0001f600",
    ]
) | st.sampled_from(
    [
        "<b>bold</b> move",
        "&amp; twice",
        "a &copy; b",
        "AT&T",
        "</p>",
        "x <foo>y</foo>",
        "tail\n\n next",
        "&#8217;",
    ]
)
HTML = (
    st.sampled_from(
        [
            "<p>One <a href='two'>two</a>.</p>",
            "<p>a<br/>b</p><img src='/i.png'>",
            "plain words",
            "<ul><li>x</ul>",
        ]
    )
    | st.sampled_from(
        [
            "<div><p>open",
            "<script>x</script><b>y</b>",
            "a &lt; b &nbsp; c",
            "",
            "  ",
            "<a href='#n'>n</a>",
            "<pre>\n\nz</pre>",
        ]
    )
    | st.sampled_from(
        [
            "line\n\nline",
            "see https://example.org/a.",
            "<a><a>x</a></a>",
            "<table><tr><td>1</table>",
            "&#11;x",
        ]
    )
)
LINKS = (
    st.sampled_from(
        [
            "https://salt.example/posts/1",
            "/posts/2?a=1&b=2",
            "posts/3",
            "",
            "http://salt.example",
            "mailto:a@b.example",
        ]
    )
    | st.sampled_from(
        [
            "https://salt.example/caf\u00e9",
            "javascript:alert(1)",
            "HTTPS://SALT.example/X",
            " https://salt.example/s ",
        ]
    )
    | st.sampled_from(
        [
            "https://salt.example/a b",
            "//other.example/p",
            "?q=&amp;x",
            "http:///three",
            "http://[bad",
            "https://salt.example/?a&b;",
        ]
    )
)
GUIDS = st.sampled_from(
    ["42", "tag:salt.example,2024:1", "https://salt.example/posts/1", "", " x ", "/rel", "caf\u00e9"]
)
DATES = st.sampled_from(
    [
        "Thu, 08 Feb 2024 10:00:00 +0100",
        "2024-02-08T09:00:00Z",
        "2024-02-08",
        "8 Feb 2024 10:30 EST",
        "soon",
        "",
    ]
) | st.sampled_from(
    [
        "0000-00-00",
        "1707382800",
        "Thu, 08 Feb 24 10:00 GMT",
        "2024-02-30",
        "08-Feb-2024",
        "Thu Feb  8 10:00:00 2024",
    ]
)
PEOPLE = st.sampled_from(
    ["Ines Vale", "ed@salt.example (Ed Stone)", "ed@salt.example", "", "Ed <ed@salt.example>", "caf\u00e9"]
)
LANGUAGES = st.sampled_from(["en", "de-CH", "en_gb", "", "not a tag"])
BASES = st.sampled_from(["https://base.example/deep/", "https://base.example/x", "deeper/", "", "http://"])


def text(value, style):
    """A text as XML: escaped, in CDATA, or both, with a comment in the middle."""
    half = len(value) // 2
    if style == "cdata" and "]]>" not in value:
        return f"<![CDATA[{value}]]>"
    if style == "comment":
        return f"{escape(value[:half])}<!-- aside -->{escape(value[half:])}"
    if style == "mixed":
        return f"{escape(value[:half])}<![CDATA[{value[half:]}]]>"
    return escape(value)


@st.composite
def element(draw, name, values, **attributes):
    chosen = {key: draw(values_of) for key, values_of in attributes.items() if draw(st.booleans())}
    if draw(st.integers(0, 19)) == 0:
        chosen["xml:lang"] = draw(LANGUAGES)
    written = "".join(f" {key}={quoteattr(value)}" for key, value in chosen.items())
    style = draw(st.sampled_from(["plain", "plain", "cdata", "mixed", "comment"]))
    return f"<{name}{written}>{text(draw(values), style)}</{name}>"


TYPES = st.sampled_from(["text", "html", "text/html", "text/plain", "HTML", "application/octet-stream", ""])
XHTML = st.sampled_from(
    ["<p>One <b>two</b><br/>three</p>", "<p title='a &lt; b'>x</p> tail ", "", "words", "<a href='two'>t</a>"]
) | st.sampled_from(
    ["<img src='/i.png' alt='&quot;'/>", "<p xml:lang='fr'>oui</p>", "<h2>A</h2><p>b &amp; c</p>"]
)


@st.composite
def xhtml(draw, name):
    before, after = draw(st.sampled_from([("", ""), ("\n ", "\n "), ("stray", "")]))
    inner = f'<div xmlns="http://www.w3.org/1999/xhtml">{draw(XHTML)}</div>'
    return f'<{name} type="xhtml">{before}{inner}{after}</{name}>'


def person(name):
    parts = st.lists(
        element("name", PEOPLE) | element("email", st.just("ed@salt.example")) | element("uri", LINKS),
        max_size=3,
    )
    return parts.map(lambda inner: f"<{name}>{''.join(inner)}</{name}>")


def atom_link(name):
    return st.builds(
        lambda rel, kind, href: f"<{name}{rel}{kind} href={quoteattr(href)}/>",
        st.sampled_from(
            ["", ' rel="alternate"', ' rel="self"', ' rel="enclosure"', ' rel="HUB"', ' rel="prev-archive"']
        ),
        st.sampled_from(["", ' type="text/html"', ' type="audio/mpeg" length="12"', ' type="image/png"']),
        LINKS,
    )


MEDIA = st.one_of(
    st.builds(
        lambda url, kind: f"<media:content url={quoteattr(url)}{kind}/>",
        LINKS,
        st.sampled_from(["", ' type="video/mp4" fileSize="9"', ' medium="image"', ' type="image/png"']),
    ),
    st.builds(lambda url: f"<media:thumbnail url={quoteattr(url)}/>", LINKS),
    element("media:thumbnail", LINKS),
    element("media:title", WORDS, type=st.sampled_from(["plain", "html"])),
    element("media:description", HTML, type=st.sampled_from(["plain", "html"])),
    element("media:keywords", st.just("a, b")),
    element("media:category", WORDS, label=WORDS),
    element("media:credit", PEOPLE, role=WORDS),
)
GROUP = st.lists(MEDIA, max_size=3).map(lambda inner: f"<media:group>{''.join(inner)}</media:group>")
COMMON = st.one_of(
    MEDIA,
    GROUP,
    element("dc:creator", PEOPLE),
    element("dc:date", DATES),
    element("dcterms:modified", DATES),
    element("dc:subject", WORDS),
    element("dc:title", WORDS),
    element("category", WORDS, domain=WORDS, term=WORDS, label=WORDS),
    element("itunes:image", WORDS, href=LINKS),
    element("itunes:summary", HTML),
    element("itunes:author", PEOPLE),
    element("itunes:keywords", st.just("salt, sea")),
    element("itunes:duration", st.just("10:00")),
    element("slash:comments", st.just("3")),
    element("x:odd", WORDS, **{"x:attribute": WORDS, "plain": WORDS}),
    st.just("<x:outer><x:inner>1</x:inner></x:outer>"),
    element("content:encoded", HTML),
)
ITEM = st.one_of(
    COMMON,
    element("title", WORDS),
    element("link", LINKS),
    atom_link("atom:link"),
    element("guid", GUIDS, isPermaLink=st.sampled_from(["true", "false", "TRUE"])),
    element("description", HTML),
    element("pubDate", DATES),
    element("author", PEOPLE),
    person("atom:author"),
    element("atom:updated", DATES),
    element("atom:summary", HTML, type=TYPES),
    element("source", WORDS, url=LINKS),
    element("comments", LINKS),
    element(
        "enclosure",
        st.just(""),
        url=LINKS,
        length=st.just("123"),
        type=st.sampled_from(["audio/mpeg", "image/png"]),
    ),
    element("unheard-of", WORDS),
)
CHANNEL = st.one_of(
    element("title", WORDS),
    element("link", LINKS),
    atom_link("atom:link"),
    element("language", LANGUAGES),
    element("description", WORDS),
    element("itunes:summary", WORDS),
    element("ttl", st.just("90")),
    element("sy:updatePeriod", st.just("daily")),
    element("managingEditor", PEOPLE),
    element("lastBuildDate", DATES),
    element("category", WORDS),
    st.just("<skipHours><hour>3</hour><hour>4</hour></skipHours><skipDays><day>Sunday</day></skipDays>"),
    st.just("<image><url>/i.png</url><title>Picture</title><link>https://img.example/</link></image>"),
    st.just(
        "<itunes:owner><itunes:name>O</itunes:name><itunes:email>o@x.example</itunes:email></itunes:owner>"
    ),
    st.just('<itunes:category text="Arts"><itunes:category text="Craft"/></itunes:category>'),
    st.just("<textInput><title>Find</title><link>/find</link><name>q</name></textInput>"),
)
FEED = st.one_of(
    element("title", WORDS, type=TYPES),
    atom_link("link"),
    element("id", GUIDS),
    element("updated", DATES),
    element("subtitle", WORDS),
    element("generator", WORDS, uri=LINKS),
    person("author"),
    person("contributor"),
    element("icon", LINKS),
)
SOURCE = st.lists(FEED, max_size=3).map(lambda inner: f"<source>{''.join(inner)}</source>")
ENTRY = st.one_of(
    COMMON,
    element("title", WORDS, type=TYPES),
    atom_link("link"),
    element("id", GUIDS),
    element("published", DATES),
    element("updated", DATES),
    element("summary", HTML, type=TYPES),
    element("content", HTML, type=TYPES),
    element("rights", WORDS),
    person("author"),
    person("contributor"),
    xhtml("content"),
    xhtml("summary"),
    xhtml("title"),
    SOURCE,
    st.just('<thr:in-reply-to ref="tag:x"/>'),
    st.just("<georss:point xmlns:georss='http://www.georss.org/georss'>1 2</georss:point>"),
)


@st.composite
def opening(draw, name, attributes=""):
    if draw(st.integers(0, 5)) == 0:
        attributes += f" xml:base={quoteattr(draw(BASES))}"
    if draw(st.integers(0, 5)) == 0:
        attributes += f" xml:lang={quoteattr(draw(LANGUAGES))}"
    return f"<{name}{attributes}>"


@st.composite
def rss_documents(draw):
    """RSS 2.0, without its declaration."""
    items = "".join(
        draw(opening("item")) + "".join(draw(st.lists(ITEM, max_size=7))) + "</item>\n"
        for _ in range(draw(st.integers(0, 3)))
    )
    head = "\n".join(draw(st.lists(CHANNEL, max_size=4)))
    version = draw(st.sampled_from(["2.0", "2.0", "0.92"]))
    tail = draw(st.sampled_from(["", "<copyright>c</copyright>", "<title>Late</title>"]))
    root = draw(opening("rss", f' version="{version}" {NAMESPACES}'))
    return f"{root}<channel>{head}{items}{tail}</channel></rss>"


@st.composite
def atom_documents(draw):
    """Atom 1.0, without its declaration."""
    entries = "".join(
        draw(opening("entry")) + "".join(draw(st.lists(ENTRY, max_size=7))) + "</entry>\n"
        for _ in range(draw(st.integers(0, 3)))
    )
    head = "\n".join(draw(st.lists(FEED, max_size=4)))
    root = draw(opening("feed", f' xmlns="http://www.w3.org/2005/Atom" {NAMESPACES}'))
    return f"{root}{head}{entries}</feed>"


@st.composite
def encoded(draw, documents):
    """A document as bytes with what a server says about them, truthful or not."""
    document = draw(documents)
    name = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "iso-8859-1", "windows-1252", "utf-16"]))
    declared = draw(st.sampled_from(["", "utf-8", name.removesuffix("-sig")]))
    declaration = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    charset = draw(st.sampled_from(["", "; charset=utf-8", "; charset=iso-8859-1"]))
    body = (declaration + document).encode(name, "xmlcharrefreplace" if "utf" not in name else "strict")
    return body, f"application/rss+xml{charset}"
