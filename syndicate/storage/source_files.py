"""Statements about the files of folders, as they were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, insert, select

from syndicate.model import FileStamp
from syndicate.storage.tables import source_file

__all__ = ["list_file_stamps", "put_file_stamps"]


def list_file_stamps(conn: Connection, source_id: int) -> dict[str, FileStamp]:
    """The files of a folder by name, as they were when they were read."""
    query = select(source_file).where(source_file.c.source_id == source_id)
    return {
        row.name: FileStamp(
            mtime_ns=row.mtime_ns,
            size=row.size,
            content_hash=row.content_hash,
            guid=row.guid,
            images=tuple((path, at, size) for path, at, size in row.images),
        )
        for row in conn.execute(query)
    }


def put_file_stamps(
    conn: Connection, source_id: int, read: Mapping[str, FileStamp], *, gone: Iterable[str] = ()
) -> None:
    """Notes files as they were read, and forgets those that are gone."""
    names = [*read, *gone]
    if names:
        conn.execute(
            delete(source_file).where(source_file.c.source_id == source_id, source_file.c.name.in_(names))
        )
    if read:
        conn.execute(
            insert(source_file),
            [
                {
                    "source_id": source_id,
                    "name": name,
                    "mtime_ns": stamp.mtime_ns,
                    "size": stamp.size,
                    "content_hash": stamp.content_hash,
                    "guid": stamp.guid,
                    "images": [list(image) for image in stamp.images],
                }
                for name, stamp in read.items()
            ],
        )
