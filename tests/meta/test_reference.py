"""Every command, setting and address is documented, and README tells the truth about the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import reference
from syndicate.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_page_of_the_reference_says_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == reference.pages()[name], "run 'make docs'"


def test_every_setting_has_a_description() -> None:
    for field in Settings.model_fields.values():
        fields = getattr(field.annotation, "model_fields", {})
        assert all(its.description for its in fields.values()), field


def test_every_option_of_every_command_has_help() -> None:
    lines = reference.pages()["commands.md"].splitlines()
    empty = [line for line in lines if line.startswith("| `") and line.endswith("|  |")]
    assert empty == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)
    missing = [link for link in links if not (ROOT / link.split("#")[0]).exists()]
    assert missing == []


def test_readme_names_only_verbs_that_make_knows() -> None:
    readme, makefile = (ROOT / "README.md").read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    verbs = set(re.findall(r"`make ([a-z-]+)", readme)) | set(
        re.findall(r"^make ([a-z-]+)", readme, re.MULTILINE)
    )
    assert {"demo", "test"} <= verbs
    assert [verb for verb in sorted(verbs) if not re.search(rf"^{verb}:", makefile, re.MULTILINE)] == []


def test_readme_names_only_commands_that_the_program_knows() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    known = re.findall(r"^## `([a-z ]+?)(?: [\[A-Z].*)?`$", reference.pages()["commands.md"], re.MULTILINE)
    named = re.findall(r"^syndicate ([a-z]+(?: [a-z]+)?)", readme, re.MULTILINE)
    assert named
    wrong = [name for name in named if name not in known and name.split()[0] not in known]
    assert wrong == []


def test_constraints_name_no_index() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text("utf-8")
