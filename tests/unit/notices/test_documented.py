"""docs/notifications.md names every kind of occurrence and every key of a channel, as they are."""

import re
import tomllib
from pathlib import Path

import msgspec

from cdcd.config import Config, Daemon
from cdcd.config_notices import Notices
from cdcd.notices.channels import Channel, Email, Program, Webhook, problems
from cdcd.notices.kinds import KINDS
from cdcd.notices.sight import POSITION_CODES
from rules.error_codes import SOURCES, _of_call, called, nodes

PAGE = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text("utf-8")


def seconds(cell: str) -> float:
    if cell in ("at once", "moment", ""):
        return 0.0
    number, unit = cell.split()
    return float(number) * (60 if unit == "min" else 1)


def test_the_table_of_occurrences_is_that_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+?) \| (.+?) \|(.*)\|$", PAGE, re.MULTILINE)
    shown = {
        code: (severity, text, seconds(after), seconds(over.strip())) for code, severity, text, after, over in rows
    }
    assert shown == {
        code: (kind.severity, kind.meaning, kind.after_seconds, kind.over_seconds or 0.0)
        for code, kind in KINDS.items()
    }


def test_every_key_is_explained():
    for struct in (Channel, Webhook, Email, Program, Notices):
        for field in msgspec.structs.fields(struct):
            assert re.search(rf"\b{field.encode_name}\b", PAGE), f"{struct.__name__}.{field.encode_name}"


def test_every_example_of_a_configuration_fits():
    examples = re.findall(r"```toml\n(.+?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        raw = tomllib.loads(example)
        notices = msgspec.convert(raw.get("notices", {}), Notices)
        assert list(problems(Config(Daemon("acme", "/"), {}, notices=notices, notify=raw.get("notify", {})))) == []


def test_every_code_of_a_lost_position_is_known_as_one():
    raised = {
        code
        for path in SOURCES
        for node in nodes(path)
        if hasattr(node, "func") and called(node) == "PositionLost"
        for code in _of_call(node, {})
    }
    assert raised - {"past-not-kept"} <= POSITION_CODES, "past-not-kept is about reading again, which no capture does"
