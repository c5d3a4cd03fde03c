"""Feeds for the figures of collecting: every one with other texts, the same each time. Serves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

NEWEST_AT = datetime(2026, 3, 13, 18, 0, tzinfo=UTC)
_BLOCKS = 400  #: of which entries are put together, each of others
_TEXT = """
the a of and to in that it is was for on with as by this from they have had not at but what which when shore
tide timber harbour morning weather keeper lantern boat rope sail grain oak plane chisel joint night star
orbit telescope meadow hedge otter heron current salt winter letter reader village bridge stone light Küste
façade señal smörgåsbord Łódź naïve déjà œuvre 海岸 Ελλάδα море &amp; &mdash; &nbsp; &ldquo;so&rdquo;
every small old quiet measured carried written found changed nobody perhaps slowly again
"""
_WORDS = _TEXT.split()


@dataclass(slots=True)
class Texts:
    """Draws from a store of HTML blocks, always in the same order."""

    random: Random = field(default_factory=lambda: Random(20260314))  # noqa: S311 - no secret
    blocks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = [self._block(number) for number in range(_BLOCKS)]

    def entry(self, feed: int, number: int, size_bytes: int) -> str:
        """The HTML of one entry, of about this size."""
        parts = [f"<p>Entry {number} of feed {feed}: {self._sentence(12)}</p>"]
        missing = size_bytes - len(parts[0])
        while missing > 200:
            part = self.random.choice(self.blocks)
            parts.append(part)
            missing -= len(part.encode())
        return "\n".join(parts)

    def _sentence(self, words: int) -> str:
        return " ".join(self.random.choices(_WORDS, k=words)).capitalize() + "."

    def _prose(self, number: int) -> str:
        linked = f'<a href="https://example.org/notes/{number}?part=2&amp;from=feed">{self._sentence(4)}</a>'
        stressed = f"<em>{self._sentence(3)}</em> <strong>{self._sentence(2)}</strong>"
        return " ".join((self._sentence(25), linked, self._sentence(18), stressed, self._sentence(20)))

    def _block(self, number: int) -> str:
        match number % 8:
            case 0:
                rows = "".join(f"<li>{self._sentence(9)}</li>\n" for _ in range(5))
                return f"<ul>\n{rows}</ul>"
            case 1:
                picture = f'src="/pictures/{number}.jpg" alt="{self._sentence(4)}" width="640" height="400"'
                return f"<figure><img {picture}><figcaption>{self._sentence(8)}</figcaption></figure>"
            case 2:
                lines = "\n".join(f"for plank in stack[{n}:]:  # &lt;{n} &amp; more&gt;" for n in range(5))
                return f"<pre><code>{lines}</code></pre>"
            case 3:
                return f"<h2>{self._sentence(5)}</h2>\n<blockquote><p>{self._prose(number)}</p></blockquote>"
            case _:
                return f'<p class="text" style="margin:0">{self._prose(number)}</p>'


def make_feed(texts: Texts, feed: int, *, entries: int, entry_bytes: int, is_atom: bool = False) -> bytes:
    """A document, RSS 2.0 as weblogs write it or Atom 1.0, the newest entry first."""
    home = f"https://example.org/{feed}"
    write_entry = _atom_entry if is_atom else _rss_item
    items = []
    for number in range(entries, 0, -1):
        at = NEWEST_AT - timedelta(days=entries - number, minutes=feed % 600)
        title = f"What the tide left, {feed}.{number} &amp; more"
        content = texts.entry(feed, number, entry_bytes)
        items.append(write_entry(f"{home}/{number}", title, at, content))
    if is_atom:
        head = (
            '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">'
            f'<title>Feed {feed}</title><id>{home}</id><link href="{home}"/>'
            f"<updated>{NEWEST_AT.isoformat()}</updated>\n"
        )
        return "".join((head, *items, "</feed>\n")).encode()
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"'
        ' xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<channel><title>Feed {feed}</title><link>{home}</link><description>Coasts and woods</description>"
        "<language>en</language>\n"
    )
    return "".join((head, *items, "</channel></rss>\n")).encode()


def _rss_item(link: str, title: str, at: datetime, content: str) -> str:
    return (
        f"<item><title>{title}</title><link>{link}</link><guid isPermaLink='false'>{link}#id</guid>"
        f"<dc:creator>Ada Reader</dc:creator><category>Coast</category><category>Craft</category>"
        f"<pubDate>{format_datetime(at)}</pubDate>"
        f"<description>The shore is never the same twice.</description>"
        f"<content:encoded><![CDATA[{content}]]></content:encoded></item>\n"
    )


def _atom_entry(link: str, title: str, at: datetime, content: str) -> str:
    return (
        f"<entry><title>{title}</title><link href='{link}'/><id>{link}#id</id>"
        f"<published>{at.isoformat()}</published><updated>{at.isoformat()}</updated>"
        f"<author><name>Ada Reader</name></author><category term='Coast'/><category term='Craft'/>"
        f"<summary>The shore is never the same twice.</summary>"
        f"<content type='html'><![CDATA[{content}]]></content></entry>\n"
    )
