"""A proposal as the text of a configuration: what speaks for each match, what was left out, what a person must decide. Pure.

Nothing of a row is written but counts, types, and the members of columns with very few different values.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cdcd.config_columns import Column
from cdcd.init.proposal import EntityProposal, FieldProposal, Proposal, SideProposal

WIDTH: Final = 118
ALONE_MAX: Final = 60
_HEAD: Final = """
Proposed by 'cdcd init' from the tables of both databases and a sample of their rows. Read it before you use it:
every 'owner', 'create' and 'delete' is a guess that only you can confirm. Confidence: high (values agree), fair, low
(names only). Then: cdcd check --config FILE, which changes nothing, and cdcd run --config FILE.
"""


def text(proposal: Proposal, systems: Mapping[str, Mapping[str, Any]], *, name: str, state_dir: str) -> str:
    """The whole file. `systems` are the options of each system, as they go into the file."""
    lines = [*_comment(_HEAD), "", "[daemon]", f"name      = {_value(name)}", f"state-dir = {_value(state_dir)}"]
    lines += ['listen    = "127.0.0.1:9145"       # /metrics, /healthz and the status page']
    for system, options in systems.items():
        lines += ["", f"[systems.{system}]", *_aligned({key: _value(value) for key, value in options.items()})]
    for entity in proposal.entities:
        lines += ["", *_entity(entity, proposal.systems)]
    lines += ["", *_alone(proposal)]
    return "\n".join(lines) + "\n"


def _entity(entity: EntityProposal, systems: tuple[str, str]) -> Iterator[str]:
    at = f"entities.{entity.name}"
    tables = " and ".join(f"{side.table} ({system})" for side, system in zip(entity.sides, systems, strict=True))
    yield f"# ---- {entity.name} ".ljust(WIDTH, "-")
    yield from _comment(tables)
    for remark in entity.remarks:
        yield from _comment(remark)
    yield f"[{at}]"
    yield f"key    = [{_value(entity.key)}]"
    yield (
        f"create = [{_value(entity.owner)}]".ljust(34)
        + f"# who may bring records into being: {_choice(systems)}, or both"
    )
    yield f"# delete = [{_value(entity.owner)}]".ljust(34) + "# without it nobody's delete is passed on"
    yield from _fields(f"{at}.fields", entity)
    for child in entity.children:
        yield ""
        for remark in child.remarks:
            yield from _comment(remark)
        yield f"[{at}.children.{child.name}]"
        yield f"key = [{_value(child.key)}]"
        yield from _fields(f"{at}.children.{child.name}.fields", child)
    for number, system in enumerate(systems):
        yield ""
        yield from _binding(f"{at}.in.{system}", entity, number)
        for child in entity.children:
            yield from _binding(f"{at}.in.{system}.children.{child.name}", child, number)


def _fields(at: str, entity: EntityProposal) -> Iterator[str]:
    yield f"[{at}]"
    width = max(len(_key(field.name)) for field in entity.fields)
    for field in entity.fields:
        owner = f", owner = {_value(field.owner)}" if field.owner and field.name != entity.key else ""
        spec = f"{_key(field.name):<{width}} = {{ type = {_value(field.type)}{owner} }}"
        yield f"{spec:<62}  # {field.confidence}: {field.why}"


def _binding(at: str, entity: EntityProposal, number: int) -> Iterator[str]:
    side = entity.sides[number]
    yield f"[{at}]"
    yield f"table = {_value(side.table)}"
    if side.parent is not None:
        yield f"parent = {_value(side.parent)}"
    for remark in side.remarks:
        yield from _comment(f"NOTE: {remark}")
    if side.required:
        named = ", ".join(f"{_key(column)} = …" for column in side.required)
        yield from _comment(f"new = {{ {named} }}   new rows need a value in these columns: fill it in, and uncomment")
    yield from _left_out(side)
    for part in side.parts:
        yield f"[{at}.parts.{part.name}]".ljust(62) + f"  # {part.why}"
        yield f"table = {_value(part.table)}"
        for option, value in part.options.items():
            yield f"{option} = {_value(value)}"
    yield f"[{at}.columns]"
    yield from _aligned({_key(field.name): _column(field, number) for field in entity.fields})


def _left_out(side: SideProposal) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for column, why in side.left_out.items():
        reasons.setdefault(why, []).append(column)
    for why, columns in reasons.items():
        yield from _comment(f"left out ({why}): {', '.join(columns)}")


def _column(field: FieldProposal, number: int) -> str:
    spec = field.columns[number]
    if not isinstance(spec, Column):
        return _value(spec)
    found: dict[str, Any] = {"column": spec.column}
    if spec.map is not None:
        found["map"] = spec.map
    if spec.scale is not None:
        found["scale"] = spec.scale
    if spec.time_zone is not None:
        found["time-zone"] = spec.time_zone
    return _value(found)


def _alone(proposal: Proposal) -> Iterator[str]:
    yield "# ---- left out ".ljust(WIDTH, "-")
    for system, tables in zip(proposal.systems, proposal.alone, strict=True):
        if tables:
            more = f" and {len(tables) - ALONE_MAX} more" if len(tables) > ALONE_MAX else ""
            yield from _comment(f"{system}: no counterpart for {', '.join(tables[:ALONE_MAX])}{more}")
    yield from _comment(
        "A table that is only to be copied as it is needs no entity: see [[replicate]] in the documentation."
    )


def _choice(systems: tuple[str, str]) -> str:
    return " or ".join(systems)


def _comment(paragraph: str) -> list[str]:
    flat = " ".join(paragraph.split())
    return textwrap.wrap(flat, WIDTH, initial_indent="# ", subsequent_indent="#   ", break_long_words=False)


def _aligned(entries: Mapping[str, str]) -> list[str]:
    width = max(map(len, entries))
    return [f"{key:<{width}} = {value}" for key, value in entries.items()]


def _value(value: Any) -> str:
    """A TOML value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(key))} = {_value(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, int) else _string(str(value))


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _string(key)


def _string(value: str) -> str:
    escaped = "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\U{ord(c):08X}") for c in value)
    return f'"{escaped}"'


_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
