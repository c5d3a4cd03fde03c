"""Pictures of every mail and every page, in Chromium at three widths, light and dark.

    python scripts/pictures.py [FOLDER]        writes pictures/ unless another folder is named

Runs the demo's main job in a folder of its own and serves it on a free port of this machine.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from syndicate.deliver.postbox import get_message, list_messages
from syndicate.digest.preview import extract_part
from syndicate.service.demonstration import demonstrate, open_demonstration
from syndicate.service.installation import Installation
from syndicate.service.letters import send_letters
from syndicate.service.subscribing import subscribe
from syndicate.web.app import create_app
from syndicate.web.server import open_socket

WIDTHS: Final = (375, 600, 1200)
SCHEMES: Final = ("light", "dark")


def main(out: Path) -> None:
    """Takes all pictures."""
    out.mkdir(parents=True, exist_ok=True)
    listening = open_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder, open_demonstration(Path(folder), url=url) as (inst, mails):
        demonstrate(inst, print)
        subscribe(
            inst, "tide-timber", email="new@example.com", name="New Reader", choices={}, proof="127.0.0.1"
        )
        send_letters(inst)
        server = uvicorn.Server(uvicorn.Config(create_app(inst, postbox_folder=mails), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with open_browser() as browser:
                for name, address in (*pages(inst, mails), *write_mails(mails, Path(folder))):
                    shoot(browser, out, name, address)
        finally:
            server.should_exit = True
            thread.join()
    print(f"wrote {len(list(out.glob('*.png')))} pictures to {out}")


def pages(inst: Installation, mails: Path) -> Iterator[tuple[str, str]]:
    """The name and address of each page."""
    urls, links = inst.urls, inst.links
    slug = "tide-timber"
    paths = {
        "home": urls.home(),
        "newsletter": urls.newsletter(slug),
        "topic": urls.topic(slug, "night-sky"),
        "article": f"{urls.newsletter(slug)}articles/1-x",
        "editions": urls.editions(slug),
        "edition": urls.edition(slug, 1),
        "unsubscribe": urls.unsubscribe(links.unsubscribe(1)),
        "preferences": urls.preferences(links.preferences(1)),
        "confirm": urls.confirm(links.confirm(1, now=inst.clock())),
        "link-problem": urls.confirm("nonsense"),
        "not-found": urls.newsletter("nothing-here"),
        "postbox": urls.postbox(),
        "postbox-message": urls.postbox_message(list_messages(mails)[0].key),
    }
    return ((f"page-{name}", urls.absolute(path)) for name, path in paths.items())


def write_mails(mails: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The name and address of each mail's HTML part, and of one without pictures and text part."""
    stored = list_messages(mails)
    digest = max(stored, key=lambda message: message.size_bytes)
    letter = next(message for message in stored if "confirm" in message.subject.lower())
    for name, message in (("digest", digest), ("confirmation", letter)):
        path = folder / f"{name}.html"
        path.write_bytes(extract_part(get_message(mails, message.key), "html"))
        yield f"mail-{name}", path.as_uri()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The system's Chromium."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("pictures: no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


def shoot(browser: Browser, out: Path, name: str, address: str) -> None:
    """One page at every width and in both schemes."""
    for width in WIDTHS:
        for scheme in SCHEMES:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=False
            )
            page = context.new_page()
            page.goto(address)
            page.screenshot(path=out / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("pictures"))
