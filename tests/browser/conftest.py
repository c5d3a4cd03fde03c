"""The system's Chromium, and a site on loopback for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from syndicate.deliver.postbox import Postbox
from syndicate.service.letters import send_letters
from syndicate.web.server import open_socket
from tests.web_site import Website, open_website, serving

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


# Not for the whole session: as long as Playwright runs, nothing else in this thread can use asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    executable = next((path for path in found if path), None)
    if executable is None and os.environ.get("CI"):
        pytest.fail("no Chromium here; on Debian: apt-get install chromium")
    if executable is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def live(built_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """The site, served at its own address, with a relay that keeps what it gets in the site's postbox."""
    folder = tmp_path_factory.mktemp("live")
    listening = open_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with (
        Postbox(folder / "mails") as postbox,
        open_website(built_site, folder, url=url, relay=postbox.address) as website,
        serving(website.app(), listening),
    ):
        yield website


class Visit:
    """A page in a browser, and everything that the browser complains about."""

    def __init__(self, page: Page, website: Website) -> None:
        self.page, self.website = page, website
        self.complaints: list[str] = []
        context = page.context
        context.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str) -> None:
        self.page.goto(self.website.inst.urls.absolute(path))

    def send_letters(self) -> int:
        """Sends what is queued, in a thread of its own: Playwright's loop runs in this one."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(send_letters, self.website.inst).result()


@pytest.fixture
def context_options() -> dict[str, object]:
    return {}


@pytest.fixture
def context(browser: Browser, context_options: dict[str, object]) -> Iterator[BrowserContext]:
    context = browser.new_context(**context_options)  # type: ignore[arg-type]  # a test's own choice of them
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, live: Website) -> Visit:
    return Visit(context.new_page(), live)
