import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.collect.decide import Verdict, decide_articles
from syndicate.collect.folders import read_folder
from syndicate.collect.likeness import text_key
from syndicate.errors import CollectError
from syndicate.model import DateQuality, FileStamp, KnownArticle
from tests.collect_store import Store

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(days=1)).timestamp()


def put(path, content="Title\n\nText", *, changed=LONG_AGO):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (changed, changed))


def read(folder, known=None, **choice):
    return read_folder(folder, zone=UTC, now=NOW, known=known or {}, **choice)


def guids(folder):
    return [article.guid for article in read(folder).articles]


def test_every_format_is_read_in_folders_within_folders_by_path(tmp_path):
    for name in ("z.txt", "a.md", "deep/er/b.HTML", "c.htm", "d.markdown", "picture.png", "data.json"):
        put(tmp_path / name)
    reading = read(tmp_path)
    assert [a.guid for a in reading.articles] == ["a.md", "c.htm", "d.markdown", "deep/er/b.HTML", "z.txt"]
    assert (reading.title, reading.problems, reading.waiting) == (tmp_path.name, (), ())


def test_a_broken_file_names_itself_and_stops_no_other(tmp_path):
    put(tmp_path / "good.md")
    put(tmp_path / "notes" / "bad.md", "---\ntitle: [\n---\n")
    put(tmp_path / "empty.txt", "")
    reading = read(tmp_path)
    assert [a.guid for a in reading.articles] == ["good.md"]
    assert [p.location for p in reading.problems] == ["empty.txt", "notes/bad.md"]
    assert all("\n" not in str(p) for p in reading.problems)


def test_hidden_backup_and_temporary_files_are_passed_over(tmp_path):
    for name in (
        ".hidden.md",
        "a.md~",
        "~$a.md",
        "#a.md#",
        "b.md.swp",
        "c.md.bak",
        ".git/d.md",
        "e.md.part",
        ".f/g/h.txt",
    ):
        put(tmp_path / name)
    assert guids(tmp_path) == []


def test_a_draft_is_passed_over(tmp_path):
    put(tmp_path / "a.md", "---\ndraft: true\n---\nText")
    reading = read(tmp_path)
    assert (reading.articles, reading.problems) == ((), ())


def test_a_file_that_was_changed_a_moment_ago_waits(tmp_path):
    put(tmp_path / "old.txt", changed=NOW.timestamp() - 3)
    put(tmp_path / "new.txt", changed=NOW.timestamp() - 1)
    reading = read(tmp_path)
    assert [a.guid for a in reading.articles] == ["old.txt"]
    assert reading.waiting == ("new.txt",)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    put(outside / "secret.txt", "Secret\n\nthe-canary-sings")
    put(inside / "own.txt")
    (inside / "file.txt").symlink_to(outside / "secret.txt")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "gone.txt").symlink_to(outside / "nothing.txt")
    (inside / "second.txt").symlink_to(inside / "own.txt")
    reading = read(inside)
    assert [a.guid for a in reading.articles] == ["own.txt", "second.txt"]
    assert "canary" not in repr(reading)


def test_a_pipe_in_the_folder_stops_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    put(tmp_path / "a.txt")
    reading = read(tmp_path)
    assert [a.guid for a in reading.articles] == ["a.txt"]
    assert [p.reason for p in reading.problems] == ["no_file"]


def test_a_huge_file_is_a_problem_and_is_not_read(tmp_path):
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(2**30)
    os.utime(tmp_path / "huge.txt", (LONG_AGO, LONG_AGO))
    assert [str(p) for p in read(tmp_path).problems] == ["huge.txt: is larger than 10 MiB"]


def test_a_name_that_is_not_utf_8_is_a_problem(tmp_path):
    put(tmp_path / os.fsdecode(b"caf\xe9.txt"))
    (problem,) = read(tmp_path).problems
    str(problem).encode()
    assert problem.reason == "bad_name"


def test_a_guid_comes_from_the_head_and_is_never_there_twice(tmp_path):
    put(tmp_path / "a.md", "---\nid: same\ntitle: A\n---\nx")
    put(tmp_path / "b.md", "---\nid: same\ntitle: B\n---\nx")
    put(tmp_path / "c.md", "---\nid: own\n---\nx")
    found = guids(tmp_path)
    assert "own" in found
    assert len(set(found)) == 3


def test_a_date_that_cannot_be_right_counts_as_none(tmp_path):
    put(tmp_path / "a.md", "---\ndate: 2031-01-01\n---\nx")
    (article,) = read(tmp_path).articles
    assert (article.published_at, article.published_quality) == (None, DateQuality.FIRST_SEEN)
    assert "2031-01-01" in article.note


@pytest.mark.parametrize("name", ["missing", "file.txt"])
def test_what_is_no_folder_is_one_line(tmp_path, name):
    put(tmp_path / "file.txt")
    with pytest.raises(CollectError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_what_is_as_it_was_is_not_read_again(tmp_path):
    put(tmp_path / "a.md", "Title\n\nText")
    put(tmp_path / "b.txt", "Another\n\nText")
    put(tmp_path / "draft.md", "---\ndraft: true\n---\nx")
    first = read(tmp_path)
    assert first.stamps.keys() == {"a.md", "b.txt", "draft.md"}
    put(tmp_path / "a.md", "Other\n\nText")  # by time and size the same: whoever reads it, notices
    again = read(tmp_path, first.stamps)
    assert (again.articles, again.stamps, again.gone, again.problems) == ((), {}, (), ())
    assert again.unread == ("a.md", "b.txt")


def test_of_what_changes_only_that_is_read(tmp_path):
    for name in ("a.md", "b.md", "c.md"):
        put(tmp_path / name, f"# {name}\n\nOne")
    known = read(tmp_path).stamps
    put(tmp_path / "b.md", "# b.md\n\nTwo and more")
    put(tmp_path / "a.md", "# a.md\n\nOne", changed=LONG_AGO + 60)  # touched: the same bytes
    (tmp_path / "c.md").unlink()
    put(tmp_path / "d.md", "# d\n\nNew")
    again = read(tmp_path, known)
    assert [a.guid for a in again.articles] == ["b.md", "d.md"]
    assert (again.unread, again.gone) == (("a.md",), ("c.md",))
    assert again.stamps["a.md"].content_hash == known["a.md"].content_hash
    assert again.stamps["a.md"] != known["a.md"]


def test_a_file_that_is_being_written_or_broken_is_still_there(tmp_path):
    put(tmp_path / "a.md")
    put(tmp_path / "b.md")
    known = read(tmp_path).stamps
    put(tmp_path / "a.md", "half", changed=NOW.timestamp())
    put(tmp_path / "b.md", "---\ntitle: [\n---\n")
    again = read(tmp_path, known)
    assert (again.waiting, again.unread) == (("a.md",), ("a.md", "b.md"))
    assert [p.location for p in again.problems] == ["b.md"]
    assert again.stamps == {}  # both are read again next time


def test_a_new_file_that_claims_the_guid_of_another_is_told_apart_from_it(tmp_path):
    put(tmp_path / "a.md", "---\nid: same\ntitle: A\n---\nOne")
    known = read(tmp_path).stamps
    put(tmp_path / "b.md", "---\nid: same\ntitle: B\n---\nTwo")
    again = read(tmp_path, known)
    assert sorted(a.title for a in again.articles) == ["A", "B"]
    assert len({a.guid for a in again.articles} | {"same"}) == 3


def test_a_thousand_files_that_are_as_they_were_are_not_read_again(tmp_path):
    known = {}
    for name in (f"{n % 10}/{n}.md" for n in range(1_000)):
        put(tmp_path / name, "x")
        mtime_ns = (tmp_path / name).stat().st_mtime_ns
        known[name] = FileStamp(mtime_ns=mtime_ns, size=1, content_hash=name, guid=name)
    for name in known:
        (tmp_path / name).chmod(0)  # whoever read one would be told so, unless it is root
    reading = read(tmp_path, known)
    assert (len(reading.unread), reading.articles, reading.problems) == (1_000, (), ())
    assert reading.stamps == {}


LETTER = "".join(f" word{n}" for n in range(60))


def known_of(articles):
    return [
        KnownArticle(
            id=n,
            guid=a.guid,
            url=a.url,
            content_hash=a.content_hash,
            earlier_hashes=frozenset(),
            title=a.title,
            text_key=text_key(a),
            published_at=a.published_at,
        )
        for n, a in enumerate(articles)
    ]


def decide(reading, known):
    return decide_articles(reading.articles, known, is_first=False, backfill="none", unread=reading.unread)


def test_a_renamed_file_is_the_same_article_and_a_copy_is_another(tmp_path):
    put(tmp_path / "a.md", f"# One\n\n{LETTER}")
    put(tmp_path / "b.md", f"# Two\n\n{LETTER}")
    first = read(tmp_path)
    (tmp_path / "a.md").rename(tmp_path / "moved.md")
    put(tmp_path / "copy.md", f"# Two\n\n{LETTER} and more")
    again = read(tmp_path, first.stamps)
    found = {d.article.guid: d for d in decide(again, known_of(first.articles))}
    assert (found["moved.md"].verdict, found["moved.md"].renamed_to) == (Verdict.SAME, "moved.md")
    assert found["copy.md"].verdict is Verdict.NEW


def test_a_new_file_under_the_old_name_of_a_renamed_one_is_new(tmp_path):
    put(tmp_path / "latest.md", f"# First letter\n\n{LETTER}")
    first = read(tmp_path)
    known = known_of(first.articles)
    (tmp_path / "latest.md").rename(tmp_path / "first.md")
    put(tmp_path / "latest.md", "# Second letter\n\nOther words", changed=LONG_AGO + 60)
    found = {d.article.guid: d for d in decide(read(tmp_path, first.stamps), known)}
    assert (found["first.md"].verdict, found["first.md"].known_id) == (Verdict.SAME, 0)
    assert found["latest.md"].verdict is Verdict.NEW


def test_files_that_change_their_names_in_a_ring_stay_what_they_are(tmp_path):
    for n in (1, 2, 3):
        put(tmp_path / f"{n}.md", f"# Letter {n}\n\nText {n}")
    first = read(tmp_path)
    known = known_of(first.articles)
    for old, new in (("3", "4"), ("2", "3"), ("1", "2")):
        (tmp_path / f"{old}.md").rename(tmp_path / f"{new}.md")
    put(tmp_path / "1.md", "# Letter 0\n\nText 0", changed=LONG_AGO + 60)
    found = {d.article.guid: d for d in decide(read(tmp_path), known)}
    assert [(found[f"{n + 2}.md"].known_id, found[f"{n + 2}.md"].verdict) for n in range(3)] == [
        (n, Verdict.SAME) for n in range(3)
    ]
    assert found["1.md"].verdict is Verdict.NEW


NAMES = st.sampled_from(["a.md", "b.md", "d/c.md"])
CHANGES = st.lists(
    st.tuples(st.sampled_from(["write", "touch", "rename", "copy", "delete"]), NAMES, NAMES, st.booleans()),
    max_size=20,
)


@settings(max_examples=100, deadline=None)
@given(CHANGES)
def test_a_look_that_passes_over_what_is_as_it_was_decides_as_one_that_reads_all(changes):
    quick, thorough, stamps = Store(), Store(), {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        for number, (change, name, other, is_looked_at) in enumerate(changes):
            alter(change, folder / name, folder / other, number)
            if is_looked_at:
                reading = read(folder, stamps)
                stamps = {k: v for k, v in stamps.items() if k not in reading.gone} | reading.stamps
                quick.look(reading.articles, unread=reading.unread)
                thorough.look(read(folder).articles)
                assert quick.state() == thorough.state()


def alter(change, path, other, number):
    changed = LONG_AGO + number
    if change == "write" or not path.exists():
        put(path, f"# Letter {number}\n\n{LETTER} {number}", changed=changed)
    elif change == "touch":
        os.utime(path, (changed, changed))
    elif change == "delete":
        path.unlink()
    else:
        put(other, path.read_bytes(), changed=changed)
        if change == "rename" and path != other:
            path.unlink()


def test_files_that_move_up_when_the_oldest_goes_stay_what_they_are(tmp_path):
    store = Store()
    for n in (1, 2, 3):
        put(tmp_path / f"{n}.md", f"# Letter {n}\n\nText {n}")
    store.look(read(tmp_path).articles)
    (tmp_path / "2.md").rename(tmp_path / "3.md")
    (tmp_path / "1.md").rename(tmp_path / "2.md")
    put(tmp_path / "1.md", "# Letter 0\n\nText 0", changed=LONG_AGO + 60)
    store.look(read(tmp_path).articles)
    assert [s.article.title for s in store.articles.values()] == [
        "Letter 1",
        "Letter 2",
        "Letter 3",
        "Letter 0",
    ]
    assert [s.guid for s in store.articles.values()] == ["2.md", "3.md", "3.md|3", "1.md"]


PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
BASE = "https://news.example.org/media/"


def place_of(body, suffix=".png"):
    return f"{BASE}{hashlib.sha256(body).hexdigest()}{suffix}"


def images_in(folder, text="![A picture](pic.png)", name="notes/a.md"):
    put(folder / name, f"# T\n\n{text}" if name.endswith(".md") else text)
    return read(folder, media_base=BASE)


def test_an_image_beside_an_article_is_kept_under_the_hash_of_its_bytes(tmp_path):
    put(tmp_path / "notes" / "pic.png", PNG)
    put(tmp_path / "pics" / "two words.jpg", b"\xff\xd8\xff\xe0jpeg")
    reading = images_in(tmp_path, "![A](pic.png) ![B](../pics/two%20words.jpg) ![C](/notes/pic.png#x)")
    (article,) = reading.articles
    jpeg = place_of(b"\xff\xd8\xff\xe0jpeg", ".jpg")
    assert article.content_html.count(f'src="{place_of(PNG)}"') == 2
    assert f'src="{jpeg}"' in article.content_html
    assert [(f"{BASE}{image.name}", image.media_type) for image in reading.images] == sorted(
        [(place_of(PNG), "image/png"), (jpeg, "image/jpeg")]
    )
    assert {image.path.read_bytes() for image in reading.images} == {PNG, b"\xff\xd8\xff\xe0jpeg"}
    assert article.note == ""


def test_the_images_of_a_page_and_the_image_of_an_article_are_kept_too(tmp_path):
    put(tmp_path / "pic.png", PNG)
    page = '<html><head><meta property="og:image" content="pic.png"></head><body><article><img src="pic.png">'
    (article,) = images_in(tmp_path, page, "a.html").articles
    assert (article.image_url, place_of(PNG) in article.content_html) == (place_of(PNG), True)
    (article,) = [a for a in images_in(tmp_path, "x", "b.md").articles if a.guid == "b.md"]
    assert article.image_url == ""
    put(tmp_path / "b.md", "---\nimage: pic.png\n---\nText")
    (article,) = [a for a in read(tmp_path, media_base=BASE).articles if a.guid == "b.md"]
    assert article.image_url == place_of(PNG)


def test_an_image_that_is_in_the_folder_comes_before_one_on_the_web(tmp_path):
    put(tmp_path / "pic.png", PNG)
    head = "---\ncanonical_url: https://example.org/posts/a\n---\n"
    put(tmp_path / "a.md", f"{head}![A](pic.png) ![B](other.png)")
    (article,) = read(tmp_path, media_base=BASE).articles
    assert place_of(PNG) in article.content_html
    assert "https://example.org/posts/other.png" in article.content_html


@pytest.mark.parametrize(
    ("body", "suffix"),
    [
        (PNG, ".png"),
        (b"GIF89a...", ".gif"),
        (b"GIF87a...", ".gif"),
        (b"\xff\xd8\xff\xdb...", ".jpg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1miaf", ".avif"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00avifmif1miaf", ".avif"),
    ],
)
def test_the_first_bytes_say_what_an_image_is_and_not_its_name(tmp_path, body, suffix):
    put(tmp_path / "notes" / "pic.svg", body)
    (image,) = images_in(tmp_path, "![A](pic.svg)").images
    assert image.name.endswith(suffix)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "notes/pic.png: is no PNG, JPEG, GIF, WebP or AVIF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "notes/pic.png: is no PNG"),
        (b"<html><script>", "notes/pic.png: is no PNG"),
        (PNG + bytes(10 * 2**20), "notes/pic.png: is larger than 10 MiB"),
    ],
    ids=["svg", "heic", "html", "large"],
)
def test_a_file_that_is_no_image_to_be_kept_is_left_out_with_its_reason(tmp_path, body, problem):
    put(tmp_path / "notes" / "pic.png", body)
    reading = images_in(tmp_path)
    (article,) = reading.articles
    assert (reading.images, "<img" in article.content_html) == ((), False)
    assert article.note.startswith("left out 1 image without a web address: pic.png; " + problem)


@pytest.mark.parametrize(
    "address",
    [
        "../../secret.png",
        "/../secret.png",
        "..%2f..%2fsecret.png",
        "link.png",
        "linked/secret.png",
        ".hidden.png",
        "missing.png",
        "pic.png%00",
        "file:///etc/passwd",
        "//host/pic.png",
        "http://[broken",
        "a" * 5_000,
        "",
    ],
)
def test_no_address_leads_out_of_the_folder_or_to_what_is_hidden(tmp_path, address):
    inside = tmp_path / "in"
    put(tmp_path / "secret.png", PNG)
    put(inside / "notes" / ".hidden.png", PNG)
    (inside / "notes" / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "notes" / "linked").symlink_to(tmp_path)
    for name, text in (("notes/a.md", f"![A](<{address}>)"), ("notes/b.html", f'<p><img src="{address}">')):
        reading = images_in(inside, text, name)
        assert reading.images == ()
        assert BASE not in "".join(a.content_html for a in reading.articles)


def test_an_article_is_read_again_when_one_of_its_images_has_changed(tmp_path):
    first = images_in(tmp_path, "![A](pic.png)", "a.md")
    assert first.images == ()
    put(tmp_path / "pic.png", PNG)
    second = read(tmp_path, first.stamps, media_base=BASE)
    assert [place_of(PNG) in a.content_html for a in second.articles] == [True]
    assert read(tmp_path, second.stamps, media_base=BASE).articles == ()
    put(tmp_path / "pic.png", PNG + b"!")
    third = read(tmp_path, second.stamps, media_base=BASE)
    assert [place_of(PNG + b"!") in a.content_html for a in third.articles] == [True]
    (tmp_path / "pic.png").unlink()
    (last,) = read(tmp_path, third.stamps, media_base=BASE).articles
    assert "left out 1 image" in last.note


def test_an_article_waits_for_an_image_that_is_being_written(tmp_path):
    put(tmp_path / "notes" / "pic.png", PNG, changed=NOW.timestamp())
    reading = images_in(tmp_path)
    assert (reading.articles, reading.waiting, reading.images) == ((), ("notes/a.md",), ())


def test_without_a_place_for_images_none_is_read(tmp_path):
    put(tmp_path / "a.md", "![A](pic.png)")
    put(tmp_path / "pic.png", PNG)
    reading = read(tmp_path)
    assert reading.images == ()
    assert "left out 1 image" in reading.articles[0].note
