"""The files of folders, as they were read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from syndicate.model import FileStamp
from syndicate.storage import source_files
from tests.builders import add_source


def make_stamp(size: int) -> FileStamp:
    return FileStamp(
        mtime_ns=1_790_000_000_123_456_789,
        size=size,
        content_hash="c" * 64,
        guid="a",
        images=(("img/x.png", 7, 8),),
    )


def test_files_are_noted_by_name_changed_and_forgotten(connection: Connection, now: datetime) -> None:
    source = add_source(connection, now)
    other = add_source(connection, now, location="/srv/other")
    source_files.put_file_stamps(connection, source.id, {"a.md": make_stamp(1), "b/ü.md": make_stamp(2)})
    source_files.put_file_stamps(connection, other.id, {"a.md": make_stamp(9)})

    source_files.put_file_stamps(connection, source.id, {"a.md": make_stamp(3)}, gone=["b/ü.md", "never.md"])

    assert source_files.list_file_stamps(connection, source.id) == {"a.md": make_stamp(3)}
    assert source_files.list_file_stamps(connection, other.id) == {"a.md": make_stamp(9)}


def test_nothing_read_and_nothing_gone_changes_nothing(connection: Connection, now: datetime) -> None:
    source = add_source(connection, now)

    source_files.put_file_stamps(connection, source.id, {})

    assert source_files.list_file_stamps(connection, source.id) == {}
