"""Every code of an error that the sources raise, found in their syntax trees, with the exit statuses of its classes."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("cdcd", "adapters")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(ROOT / "cdcd" / "testing")
)
"""Without the contract's own servers: what they say is for developers, who have the source."""
TABLES = {"_REFUSED": "Refused", "_NOT_READY": "NotReady", "_CODES": "Refused", "_CLASS_CODES": "Refused"}
"""Mappings of a server's numbers to our codes, and the class that these are raised as."""
CHECKS = {"error", "warning", "add", "note", "moment", "command"}
"""Functions whose codes are those of findings or occurrences, which have pages of their own; and a command's decorator."""
OCCURRENCES = ROOT / "cdcd" / "notices"
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


@cache
def classes() -> dict[str, tuple[list[str], dict[str, object]]]:
    """By name: the bases, and the constants set in the body."""
    found: dict[str, tuple[list[str], dict[str, object]]] = {}
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                bases = [getattr(base, "id", getattr(base, "attr", "")) for base in node.bases]
                constants = {}
                for part in node.body:
                    target = part.targets[0] if isinstance(part, ast.Assign) else getattr(part, "target", None)
                    value = getattr(part, "value", None)
                    if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                        constants[target.id] = value.value
                found.setdefault(node.name, (bases, constants))
    return found


def looked_up(name: str, constant: str) -> object:
    """A constant of a class or of the nearest base that has it."""
    bases, constants = classes().get(name, ([], {}))
    if constant in constants:
        return constants[constant]
    others = [base for base in bases if base != name]  # a class may be called as its base elsewhere
    return next((found for base in others if (found := looked_up(base, constant)) is not None), None)


def literals(node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may be, as far as they stand in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from literals(value)


def places(path: Path) -> dict[str, int]:
    """Functions and classes of a file that take a code by position: which place that is in a call."""
    found = {}
    for node in nodes(path):
        if isinstance(node, ast.ClassDef):
            for name, place in _code_place(node.body):
                found[node.name if name == "__init__" else name] = place - 1
        elif isinstance(node, ast.Module):
            found |= dict(_code_place(node.body))
    return {name: place for name, place in found.items() if name not in CHECKS}


def _code_place(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            if "code" in names:
                yield node.name, names.index("code")


@cache
def codes() -> dict[str, set[int]]:
    """Every code, with the exit statuses of the classes that it is raised as, where these stand beside it."""
    found: dict[str, set[int]] = defaultdict(set)
    for name, (_, constants) in classes().items():
        if isinstance(code := constants.get("default_code"), str):
            found[code].add(int(str(looked_up(name, "exit_code"))))
    for path in SOURCES:
        by_place = places(path)
        for node in nodes(path):
            if isinstance(node, ast.Call):
                for code in _of_call(node, by_place):
                    found[code].update(_exits(called(node)))
            elif isinstance(node, ast.Assign | ast.AnnAssign) and not path.is_relative_to(OCCURRENCES):
                for code, kind in _of_table(node):
                    found[code].update(_exits(kind))
    return dict(found)


def _exits(name: str) -> set[int]:
    status = looked_up(name, "exit_code")
    return {status} if isinstance(status, int) else set()


def _of_call(node: ast.Call, by_place: dict[str, int]) -> Iterator[str]:
    for keyword in node.keywords:
        if keyword.arg == "code":
            yield from literals(keyword.value)
    place = by_place.get(called(node))
    if place is not None and len(node.args) > place:
        yield from literals(node.args[place])
    if called(node) == "Finding" and len(node.args) > 1:
        yield from literals(node.args[1])


def _of_table(node: ast.Assign | ast.AnnAssign) -> Iterator[tuple[str, str]]:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    name = target.id if isinstance(target, ast.Name) else ""
    if name in TABLES and isinstance(node.value, ast.Dict):
        for value in node.value.values:
            first = value.elts[0] if isinstance(value, ast.Tuple) else value
            yield from ((code, TABLES[name]) for code in literals(first))
    elif name in ("code", "CODE", "_code"):
        yield from ((code, "") for code in literals(node.value))


@cache
def texts() -> set[str]:
    """Every text that stands anywhere in the sources."""
    return {
        node.value
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
