"""docs/cli.md is what the commands say of themselves."""

import json
import re
from pathlib import Path

from click.testing import CliRunner

from cdcd import cli
from cli_page import DOCUMENT, page


def test_the_page_is_what_the_commands_say():
    assert DOCUMENT.read_text("utf-8") == page(), "run: PYTHONPATH=tests/reference:. python -m cli_page"


def test_the_object_on_the_page_is_one_that_is_printed(tmp_path: Path):
    shown = json.loads(re.findall(r"```json\n(.+?)```", page(), re.DOTALL)[0])
    config = tmp_path / "cdcd.toml"
    config.write_text(f'[daemon]\nname = "acme"\nstate-dir = "{tmp_path}/state"\n[systems]\n')
    printed = json.loads(CliRunner().invoke(cli.cdcd, ["status", "--json", "--config", str(config)]).stdout)
    assert list(printed) == list(shown)
    assert list(printed["error"]) == list(shown["error"])
    printed["error"]["cause"] = shown["error"]["cause"]
    assert {**printed, "command": "pause"} == shown
