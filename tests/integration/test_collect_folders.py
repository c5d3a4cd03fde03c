import os
from datetime import UTC, datetime, timedelta

import pytest

from syndicate.collect.folders import read_folder
from syndicate.errors import CollectError
from syndicate.model import DateQuality

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(days=1)).timestamp()


def put(path, content="Title\n\nText", *, changed=LONG_AGO):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (changed, changed))


def read(folder):
    return read_folder(folder, zone=UTC, now=NOW)


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
