"""House rules that a machine can check: what may import what, sizes, names, errors, and examples that load."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

from cdcd import config as configuration
from cdcd import config_rules, errors
from cdcd.blueprint import draw
from cdcd.values import ValueRefused

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "cdcd").rglob("*.py"))
ADAPTERS = sorted((ROOT / "adapters").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PACKAGES = {"cdcd_memory", "cdcd_mysql", "cdcd_postgres"}
DRIVERS = {"psycopg", "psycopg_binary", "pymysql", "pymysqlreplication"}
FOR_ADAPTERS = {
    "cdcd.adapter",
    "cdcd.config",
    "cdcd.errors",
    "cdcd.folding.found_ids",
    "cdcd.model",
    "cdcd.numeric",
    "cdcd.printed",
    "cdcd.reader",
    "cdcd.secret_files",
    "cdcd.values",
}
"""What an adapter may know of the core: the contract, its vocabulary, and how a secret is configured."""
LINES_MAX, TEST_LINES_MAX, FUNCTION_LINES_MAX = 500, 600, 70
EXAMPLES = [path for path in sorted((ROOT / "config").rglob("*.toml")) if path.parent.name != "demo"]
"""The demo fills its own in."""
SHOWN = ("cdcd.example.toml", "examples/transforms.toml")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever it does."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


# ---- what may import what ---------------------------------------------------------------------------------------


def test_the_core_imports_no_adapter_and_no_driver():
    """But for `cdcd.testing.servers`: whoever runs test servers must ask them whether they are there."""
    found = {
        (name(path), module)
        for path in CORE
        for module in imports(path)
        if module.partition(".")[0] in PACKAGES | DRIVERS and name(path) != "cdcd/testing/servers.py"
    }
    assert not found


def test_only_the_servers_of_the_testing_package_know_drivers_and_no_production_module_imports_it():
    assert not {
        (name(path), module)
        for path in CORE
        for module in imports(path)
        if module.startswith("cdcd.testing") and not name(path).startswith("cdcd/testing/")
    }


def test_an_adapter_knows_the_contract_and_itself():
    found = {
        (name(path), module)
        for path in ADAPTERS
        for module in imports(path)
        if module.partition(".")[0] in PACKAGES | {"cdcd"}
        and module not in FOR_ADAPTERS
        and module.partition(".")[0] != path.parent.name
    }
    assert not found


# ---- sizes, names, docstrings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CORE + ADAPTERS + TESTS, ids=name)
def test_a_file_is_short_enough_to_be_read(path):
    lines = path.read_text("utf-8").count("\n")
    assert lines <= (TEST_LINES_MAX if path in TESTS else LINES_MAX)


def test_functions_are_short_enough_to_be_read():
    long = {
        f"{name(path)}:{node.lineno} {node.name}"
        for path in CORE + ADAPTERS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    }
    assert not long


def test_every_module_says_what_it_is_for():
    assert not [name(path) for path in CORE + ADAPTERS + TESTS if not ast.get_docstring(tree(path))]


def test_no_module_is_a_bucket():
    buckets = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [name(path) for path in CORE + ADAPTERS + TESTS if path.stem in buckets or path.parent.name in buckets]


def test_nothing_is_left_to_be_done_later():
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplementedErr" + r"or)\b")
    assert not [name(path) for path in CORE + ADAPTERS + TESTS if words.search(path.read_text("utf-8"))]


def test_nothing_is_caught_that_is_not_named():
    """Nothing bare, no `Exception`; who must clean up after anything at all raises it again."""
    caught = [
        (f"{name(path)}:{node.lineno}", node)
        for path in CORE + ADAPTERS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
    ]
    assert not [at for at, node in caught if node.type is None]
    broad = [
        (at, node) for at, node in caught if node.type and ast.unparse(node.type) in ("Exception", "BaseException")
    ]
    assert not [
        at for at, node in broad if ast.unparse(node.type) == "Exception" or ast.unparse(node.body[-1]) != "raise"
    ]


# ---- errors -----------------------------------------------------------------------------------------------------


def codes() -> dict[str, set[str]]:
    """Every code that stands in a call of one of the errors -> the classes that are raised with it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in CORE + ADAPTERS:
        for call in calls(path):
            for keyword in call.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    found[keyword.value.value].add(ast.unparse(call.func).rpartition(".")[2])
    return found


def policy(error: str) -> str:
    """What is done about an error: the class that `cdcd.errors` and `ValueRefused` derive it from."""
    kind = {"ValueRefused": ValueRefused}.get(error) or getattr(errors, error, None)
    bases = (
        errors.ConfigError,
        errors.NeedsOperator,
        errors.Unavailable,
        errors.Refused,
        ValueRefused,
        errors.DecodeError,
    )
    return next((base.__name__ for base in bases if kind is not None and issubclass(kind, base)), error)


def test_codes_are_words_with_hyphens():
    assert not [code for code in codes() if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)]


def test_a_code_has_one_meaning_and_so_one_policy():
    meanings = {code: {policy(error) for error in kinds} for code, kinds in codes().items()}
    assert not {code: found for code, found in meanings.items() if len(found) > 1}


def test_every_class_of_error_has_a_code_of_its_own():
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CdcdError)]
    defaults = [kind.default_code for kind in classes]
    assert len(defaults) == len(set(defaults)) > 5


def test_who_needs_the_operator_says_what_to_do_next():
    silent = {
        f"{name(path)}:{call.lineno}"
        for path in CORE + ADAPTERS
        if "testing" not in path.parts and "cdcd_memory" not in path.parts
        for call in calls(path)
        if ast.unparse(call.func).rpartition(".")[2] in ("NeedsOperator", "NotReady", "PositionLost", "Fenced")
        and not any(keyword.arg in ("remedy", None) for keyword in call.keywords)
    }
    assert not silent


# ---- configuration ----------------------------------------------------------------------------------------------


def keys() -> set[str]:
    structs = [
        kind
        for kind in vars(configuration).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == "cdcd.config"
    ]
    return {field.encode_name for kind in structs for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize("key", sorted(keys()))
def test_every_key_of_the_configuration_stands_in_the_example(key):
    example = "".join((ROOT / "config" / path).read_text("utf-8") for path in SHOWN)
    assert re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", example)


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_every_example_loads_and_compiles(path):
    blueprint = draw(config_rules.load(path), str(path))
    assert blueprint.entity_tables or blueprint.config.replicate
