"""Images of articles over HTTP, and in the static export."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from syndicate.errors import NotFound
from syndicate.service.media import keep_image, list_media, media_file
from syndicate.service.publishing import export_site
from tests.web_site import Website

IMAGE = b"\x89PNG\r\n\x1a\n and so on"
NAME = f"{sha256(IMAGE).hexdigest()}.png"


def test_an_image_is_served_with_its_type_and_may_be_kept_for_ever(website: Website) -> None:
    keep_image(website.inst, NAME, IMAGE)
    keep_image(website.inst, NAME, b"what is there is never written again")

    answer = website.client().get(f"/media/{NAME}")

    assert (answer.status_code, answer.content) == (200, IMAGE)
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["0" * 64 + ".png", "..%2Fsyndicate.toml", f"{NAME[:-4]}.svg", "x.png"])
def test_nothing_else_of_the_folder_is_served(website: Website, name: str) -> None:
    (website.inst.settings.folder / "media").mkdir(exist_ok=True)
    (website.inst.settings.folder / "media" / f"{NAME[:-4]}.svg").write_text("<svg/>", "ascii")

    assert website.client().get(f"/media/{name}").status_code == 404
    with pytest.raises(NotFound):
        media_file(website.inst, name)


def test_the_export_has_the_images(website: Website, tmp_path: Path) -> None:
    keep_image(website.inst, NAME, IMAGE)

    export_site(website.inst, tmp_path / "site")

    assert list(list_media(website.inst)) == [NAME]
    assert (tmp_path / "site" / "media" / NAME).read_bytes() == IMAGE
