"""Templates are folders that one can copy: a configuration that loads and compiles, and a page that says all there is to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdcd import config_rules
from cdcd.blueprint import draw

TEMPLATES = Path(__file__).parents[2] / "config" / "templates"
FOLDERS = sorted(path for path in TEMPLATES.iterdir() if path.is_dir())
HEADINGS = ["Versions tried", "What is mapped", "Who owns what", "What to prepare", "What is not covered"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_template_loads_and_marks_what_belongs_to_an_installation(folder: Path):
    path = folder / "cdcd.toml"
    assert draw(config_rules.load(path), str(path)).entity_tables
    lines = path.read_text("utf-8").partition("# ----")[0].splitlines()  # the systems
    places = [line for line in lines if re.match(r"(dsn|host|database|user|password) +=", line)]
    assert places
    assert [line for line in places if "# yours" not in line] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_template_says_what_it_does_and_what_it_does_not(folder: Path):
    text = (folder / "README.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert f"({folder.name}/README.md)" in (TEMPLATES / "README.md").read_text("utf-8")
