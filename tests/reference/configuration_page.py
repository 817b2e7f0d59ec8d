"""Writes docs/configuration.md from the configuration's structs: `PYTHONPATH=tests/reference:. python -m configuration_page`.

What a key means is the docstring behind its field; its type and default are those of the field. A test keeps both in step.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from cdcd.config import Config, Name, Secret
from cdcd.notices.channels import Channel
from cdcd.scheduling import rate_limit

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
SYSTEMS = {"postgres": "PostgreSQL", "mysql": "MySQL and MariaDB"}
_HEAD = """\
# Every key of the configuration

Made from the code that reads it (`tests/reference/configuration_page.py`), so nothing is missing here, and nothing is invented. How the keys
work together stands in [the example](../config/cdcd.example.toml), which has them all; how little is needed in
[the minimal one](../config/cdcd.minimal.toml). A key that is not known is refused, with the nearest one that is; `cdcd check` says file, key,
rule and way out.

NAME stands for a name of yours: lower-case letters, digits and `_`, a letter first, 31 characters at most. A duration is a number and one of
`ms s m h d w`, a size one of `B KiB MiB GiB TiB`. A secret is `{ credential = "…" }` (systemd's), `{ file = "…" }` or `{ env = "…" }`.
"""


class Key(NamedTuple):
    """One key: what it may be, what it is when it is left out ("" where it must be given), what it means."""

    name: str
    kind: str
    default: str
    meaning: str


class Table(NamedTuple):
    """One table of the file; `name` is its header as it stands there."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


_SYSTEM = Table(
    "[systems.NAME]",
    "A database that is read and written; the keys of every adapter, and below those of each.",
    (
        Key("adapter", "text", "", "`postgres`, `mysql`, or one that is installed beside them (docs/adapters.md)."),
        Key(
            rate_limit.ROWS_KEY,
            "a number",
            "none",
            "No more rows than that are written on average; without it as fast as it takes them.",
        ),
        Key(rate_limit.BURST_KEY, "a number", "none", "After a rest so many at once; by default those of one second."),
    ),
)


def tables() -> list[Table]:
    """All tables of a configuration, each struct once."""
    return list(_tables(Config, "", "", set()))


def _tables(struct: type[msgspec.Struct], path: str, header: str, seen: set[type]) -> Iterator[Table]:
    if struct in seen:
        return
    seen.add(struct)
    hints = typing.get_type_hints(struct, include_extras=True)
    keys, below = [], []
    for field in msgspec.structs.fields(struct):
        inner = list(_structs(hints[field.name]))
        for found, suffix, is_list in inner:
            name = _joined(path, field.encode_name, suffix)
            below.append((found, name, f"[[{name}]]" if is_list else f"[{name}]"))
        if path or not inner:
            keys.append(_key(field, hints[field.name], _meanings(struct)))
    if header:
        yield Table(header, _about(struct), tuple(keys))
    for number, (found, name, head) in enumerate(below):
        yield from _tables(found, name, head, seen)
        if struct is Config and number == 0:
            yield from _of_adapters(seen)


def _of_adapters(seen: set[type]) -> Iterator[Table]:
    """`systems` and `notify` are read by others: `Config` keeps them raw."""
    yield _SYSTEM
    for adapter, servers in SYSTEMS.items():
        options = importlib.import_module(f"cdcd_{adapter}").adapter.options
        yield from _tables(options, "systems.NAME", f'[systems.NAME] with adapter = "{adapter}": {servers}', seen)
    yield from _tables(Channel, "notify.NAME", "[notify.NAME]", seen)


def _about(struct: type[msgspec.Struct]) -> str:
    """The first paragraph of its docstring: the others are for who reads the code."""
    return " ".join((inspect.getdoc(struct) or "").split("\n\n", 1)[0].split())


def _key(field: msgspec.structs.FieldInfo, hint: Any, meanings: dict[str, str]) -> Key:
    if field.default is not msgspec.NODEFAULT:
        default = _shown(field.default)
    elif field.default_factory is not msgspec.NODEFAULT:
        default = _shown(field.default_factory())
    else:
        default = ""
    return Key(field.encode_name, " or ".join(dict.fromkeys(_kinds(hint))), default, meanings.get(field.name, ""))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, msgspec.Struct):
        return "none"
    return f"`{msgspec.json.encode(value).decode()}`"


def _kinds(hint: Any) -> Iterator[str]:
    """What a value may be, in TOML's words."""
    origin = typing.get_origin(hint)
    if hint is Name:
        yield "a name"
    elif hint is Secret:
        yield "a secret"
    elif origin is typing.Annotated:
        yield from _kinds(typing.get_args(hint)[0])
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            if part is not type(None):
                yield from _kinds(part)
    elif origin is Literal:
        yield from (f"`{msgspec.json.encode(value).decode()}`" for value in typing.get_args(hint))
    elif origin in (list, tuple):
        yield f"a list of {' or '.join(dict.fromkeys(_plural(k) for k in _kinds(typing.get_args(hint)[0])))}"
    elif origin is dict:
        yield "a table"
    else:
        yield {str: "text", int: "a number", float: "a number", bool: "`true` or `false`"}.get(hint, "a table")


def _plural(kind: str) -> str:
    return {"text": "texts", "a name": "names", "a number": "numbers", "a table": "tables"}.get(kind, kind)


def _structs(hint: Any) -> Iterator[tuple[type[msgspec.Struct], str, bool]]:
    """The structs in a type, with what of a path leads to them."""
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if hint is not Secret:
            yield hint, "", False
    elif origin is list:
        yield from ((found, suffix, True) for found, suffix, _ in _structs(typing.get_args(hint)[0]))
    elif origin is dict:
        yield from (
            (found, _joined("NAME", suffix), is_list) for found, suffix, is_list in _structs(typing.get_args(hint)[1])
        )
    elif origin is not Literal:
        for part in typing.get_args(hint):
            yield from _structs(part)


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The docstrings behind the fields of a struct and of those that it is made of."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if not issubclass(base, msgspec.Struct) or base is msgspec.Struct:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, behind in zip(body.body, body.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(behind, ast.Expr):
                text = ast.literal_eval(behind.value)
                found[node.target.id] = " ".join(str(text).split())
    return found


def page() -> str:
    """The whole document."""
    parts = [_HEAD]
    for table in tables():
        lines = "\n".join(
            f"| `{key.name}` | {key.kind} | {key.default or '**needed**'} | {key.meaning} |".replace("||", "|")
            for key in table.keys
        )
        parts.append(
            f"## {table.name}\n\n{table.meaning}\n\n| key | value | default | meaning |\n|---|---|---|---|\n{lines}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(page(), "utf-8")
