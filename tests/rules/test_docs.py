"""The documents name tests: they exist, and every numbered complaint has one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAILURES = (ROOT / "docs" / "known-failures.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|cdcd)/[\w/]+\.py)::(\w+)`", FAILURES)))


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str):
    assert name in functions(path), f"{path} has no {name}"


def test_every_complaint_has_its_number_and_a_test():
    entries = re.split(r"^(\d+)\. ", FAILURES, flags=re.MULTILINE)[1:]
    assert [int(number) for number in entries[::2]] == list(range(1, 41))
    assert [number for number, text in zip(entries[::2], entries[1::2], strict=True) if "::test_" not in text] == []
