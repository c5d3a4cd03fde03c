"""A sender in a process of its own: ``python -m tests.faults.sender DATABASE_URL PORT EDITION WINDOW``.

Waits for a line on standard input before it begins, so that several begin at once. Sends until nothing is
left to do or another sender has the edition. Prints how many it sent, and ``taken`` where it was refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

from syndicate.errors import StateError
from syndicate.service.installation import utc_now
from syndicate.service.sending import send_edition
from syndicate.storage.engine import open_engine
from tests.installation_builders import make_installation


def main() -> None:
    url, port, edition_id, window = sys.argv[1:]
    engine = open_engine(url)
    inst = make_installation(
        engine, Path(), port=int(port), clock=utc_now, connections=int(window), lease_s=1.0
    )
    say("ready")
    sys.stdin.readline()
    try:
        say(str(send_edition(inst, int(edition_id)).sent))
    except StateError as error:
        say(f"taken: {error}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
