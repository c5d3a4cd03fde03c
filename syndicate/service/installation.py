"""The composition root: settings, database and clock of one installation, opened in this order.

The only place where the wall clock is read. Every use case takes an Installation first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine

from subscribers.tokens import Links
from syndicate.publish.urls import Urls
from syndicate.settings import Settings, load_settings, template_folders
from syndicate.storage.engine import check_schema, open_engine

__all__ = ["Installation", "open_installation", "utc_now"]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)  # noqa: TID251 - the one place


@dataclass(frozen=True)
class Installation:
    """What every use case needs."""

    settings: Settings
    engine: Engine
    clock: Callable[[], datetime]

    @cached_property
    def links(self) -> Links:
        """The signed links of readers."""
        return Links(self.settings.secret)

    @cached_property
    def urls(self) -> Urls:
        """The public addresses."""
        return Urls(self.settings.site.url)

    @property
    def templates(self) -> tuple[Path, ...]:
        """The folders of templates, the operator's own first."""
        return template_folders(self.settings)


@contextmanager
def open_installation(
    config: Path | None = None, *, clock: Callable[[], datetime] = utc_now
) -> Iterator[Installation]:
    """Opens the installation of a configuration file and closes its database at the end.

    Raises ConfigurationError before anything is opened, OperationError if the database cannot be used.
    """
    settings = load_settings(config)
    # Read now: a file that is missing must not be found out in the middle of a window of readers.
    _ = settings.secret, [settings.relay_password(name) for name in settings.all_relays]
    engine = open_engine(settings.database_url)
    try:
        check_schema(engine)
        yield Installation(settings=settings, engine=engine, clock=clock)
    finally:
        engine.dispose()
