"""Use case: make a new installation, ready to run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from syndicate.errors import CollectError, PrivateAddress, UsageError
from syndicate.model import Newsletter, Source, slugify
from syndicate.publish.urls import RESERVED_SLUGS
from syndicate.service.collecting import SourceReport, collect_source
from syndicate.service.installation import Installation, open_installation, utc_now
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.service.sources import add_source, find_out
from syndicate.settings import CONFIG_NAME, load_settings
from syndicate.storage.engine import migrate, open_engine

__all__ = ["Initialised", "initialise", "migrate_database"]

#: Articles of a source that the first edition brings; our choice.
_FIRST_EDITION: Final = "10"

#: There is no configuration yet in which its network could be listed.
_PRIVATE: Final = (
    "is at a private address; leave --from out, list its network in [fetch] allow_private if you mean it, "
    "and add it with 'syndicate source add'"
)

_CONFIG: Final = """\
# Settings of this installation. Every one of them: docs/settings.md
# The environment goes before this file: SYNDICATE_SMTP__PASSWORD sets [smtp] password.

[site]
title = {title}
url = {url}          # where the public finds it; links in mails use it
time_zone = "UTC"
secret_file = "secret.key"                # signs readers' links: keep it, and keep it to yourself

[database]
url = "sqlite:///syndicate.db"            # or postgresql://user@host/name

[smtp]                                    # the relay that mail is handed to
host = "localhost"
port = 587
tls = "starttls"                          # or "implicit"; "none" only on this machine
# username = "..."
# password_file = "smtp.password"

# [dkim]                                  # signing mail here; 'syndicate dkim generate' says what to write

[fetch]
allow_private = []                        # private networks that sources may be in

[delivery]
connections = 8
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What ``initialise`` made."""

    folder: Path
    newsletter: Newsletter
    source: Source | None
    report: SourceReport | None


def initialise(
    folder: Path,
    *,
    title: str | None,
    url: str | None,
    source: str | None,
    clock: Callable[[], datetime] = utc_now,
) -> Initialised:
    """Makes the configuration, the secret, the database and a newsletter in a folder.

    With ``source`` (a URL or a folder) the newsletter draws from it, is named after it, and has collected it:
    the latest articles go into the first edition. Raises UsageError if the folder holds an installation
    already, CollectError if there is nothing to collect at the source; then nothing is left behind.
    """
    config, key = folder / CONFIG_NAME, folder / "secret.key"
    ours = (config, key, *(folder / f"syndicate.db{tail}" for tail in ("", "-wal", "-shm")))
    if there := [path for path in ours if path.exists()]:
        raise UsageError(
            f"{there[0]} exists already; this folder holds an installation, or what is left of one"
        )
    location = str(Path(source).resolve()) if source and Path(source).is_dir() else source
    made_folder = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_secret(key)
        config.write_text(
            _CONFIG.format(title=_quoted(title or "Syndicate"), url=_quoted(url or "http://127.0.0.1:8000")),
            "utf-8",
        )
        migrate_database(config)
        with open_installation(config, clock=clock) as inst:
            made = _first_newsletter(inst, folder, title, location)
        if title is None and source is not None:
            _name_site(config, made.newsletter.title)
    except BaseException as error:
        _undo(ours, folder if made_folder else None)
        if isinstance(error, PrivateAddress):
            raise CollectError(location or "", error.reason, _PRIVATE) from None
        if isinstance(error, OSError):
            raise UsageError(f"{folder} cannot be written to: {error.strerror}") from None
        raise
    return made


def migrate_database(config: Path | None) -> bool:
    """Brings the database to this version's schema, making it if need be; True if something changed."""
    settings = load_settings(config)
    engine = open_engine(settings.database_url)
    try:
        return migrate(engine)
    finally:
        engine.dispose()


def _first_newsletter(
    inst: Installation, folder: Path, title: str | None, location: str | None
) -> Initialised:
    name = title or (find_out(inst, location)[0].title if location else "") or folder.resolve().name or "News"
    newsletter = add_newsletter(inst, _slug(name), NewsletterChanges(title=name))
    if location is None:
        return Initialised(folder=folder, newsletter=newsletter, source=None, report=None)
    added = add_source(inst, location, newsletter_slug=newsletter.slug, backfill=_FIRST_EDITION)
    report = collect_source(inst, added.source.id)
    if report.error:
        raise CollectError(location, "not_collected", report.error.removeprefix(f"{location}: "))
    return Initialised(folder=folder, newsletter=newsletter, source=added.source, report=report)


def _slug(name: str) -> str:
    ascii_only = re.sub(r"[^a-z0-9]+", "-", slugify(name)).strip("-")[:60].strip("-")
    return ascii_only if ascii_only and ascii_only not in RESERVED_SLUGS else "news"


def _undo(files: Iterable[Path], made_folder: Path | None) -> None:
    with suppress(OSError):
        for path in files:
            path.unlink(missing_ok=True)
        if made_folder is not None:
            made_folder.rmdir()


def _write_secret(path: Path) -> None:
    # Created with its mode, so that it is never readable by others, not even for a moment.
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secrets.token_hex(32) + "\n", "ascii")


def _name_site(config: Path, title: str) -> None:
    text = config.read_text("utf-8")
    config.write_text(text.replace('title = "Syndicate"', f"title = {_quoted(title)}", 1), "utf-8")


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = "".join(
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {'"': '\\"', "\\": "\\\\"}.get(c, c)
        for c in text
    )
    return f'"{escaped}"'
