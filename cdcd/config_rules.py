"""What must fit together in a configuration, checked before anything starts: all findings at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cdcd import config as c
from cdcd import config_columns as cc
from cdcd import (
    config_map_files,
    config_ownership,
    config_parts,
    config_schedules,
    config_sensitive,
    config_transforms,
    config_web,
)
from cdcd.conditions import compile_condition
from cdcd.conversions import column_text, typed
from cdcd.errors import ConfigError
from cdcd.notices import channels
from cdcd.values import parse_type


def load(path: Path) -> c.Config:
    """Read the configuration at `path` and check it as a whole. Raises ConfigError: file, key, value, rule, way out."""
    config = config_map_files.with_map_files(c.read(path), path.parent)
    check(config, str(path))
    return config


def check(config: c.Config, file: str) -> None:
    """Raise one ConfigError that lists everything that does not fit."""
    problems = list(_problems(config))
    if problems:
        listed = "\n".join(f"{file}: {problem}" for problem in problems)
        raise ConfigError(listed, code="config-rule", remedy="correct the file, then run 'cdcd check'")


def _problems(config: c.Config) -> Iterator[str]:
    yield from _quantities(config)
    for name, options in config.systems.items():
        if not isinstance(options.get("adapter"), str):
            yield f'systems.{name}: missing key \'adapter\'; add adapter = "postgres" or "mysql"'
    for name, entity in config.entities.items():
        yield from _entity(config, name, entity)
    for index, copy in enumerate(config.replicate):
        yield from _replicate(config, f"replicate[{index}]", copy)
    yield from config_ownership.problems(config)
    yield from config_schedules.problems(config)
    yield from config_sensitive.problems(config)
    yield from config_web.problems(config)
    yield from channels.problems(config)
    yield from _tables_written_twice(config)


def _replicate(config: c.Config, at: str, copy: c.Replicate) -> Iterator[str]:
    for system in (copy.source, copy.target):
        yield from _known(at, "system", system, config.systems)
    if copy.source == copy.target:
        yield f"{at}: from and to are both {copy.source!r}; a table cannot be copied onto itself"
    if not copy.tables:
        yield f"{at}.tables: empty; name at least one table"
    for column in copy.unfit:
        yield from _known(f"{at}.unfit", "table of this copy", column.rpartition(".")[0], copy.tables)
    for key, columns in (("leave-out", copy.leave_out), ("sensitive", copy.sensitive)):
        for named in columns:
            table, _, column = named.rpartition(".")
            if not table or not column:
                yield f"{at}.{key}: expected table.column, got {named!r}"
            else:
                yield from _known(f"{at}.{key}", "table of this copy", table, copy.tables)


def _quantities(config: c.Config) -> Iterator[str]:
    for key, parse, text in (
        ("journal.keep", c.parse_duration, config.journal.keep),
        ("journal.max-size", c.parse_size, config.journal.max_size),
    ):
        try:
            parse(text)
        except ValueError as error:
            yield f"{key}: {error}"
    if not config.daemon.state_dir.startswith("/"):
        yield f"daemon.state-dir: expected an absolute path, got {config.daemon.state_dir!r}; for example /var/lib/cdcd"


def _known(at: str, what: str, name: str, known: Iterable[str]) -> Iterator[str]:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        yield f"{at}: unknown {what} {name!r}; {hint}"


def _entity(config: c.Config, name: str, entity: c.Entity) -> Iterator[str]:
    at = f"entities.{name}"
    if not entity.key:
        yield f"{at}.key: empty; name the fields that identify one record in every system"
    for field in entity.key:
        yield from _known(f"{at}.key", "field", field, entity.fields)
    for right, systems in (("create", entity.create), ("delete", entity.delete)):
        for system in systems:
            yield from _known(f"{at}.{right}", "system of this entity", system, entity.bindings)
    yield from _fields(config, at, entity, entity.fields, entity.key)
    yield from _conditions(at, entity)
    for field in entity.not_owner.fields:
        yield from _known(f"{at}.not-owner.fields", "field", field, entity.fields)
    for child_name, child in entity.children.items():
        for field in child.key:
            yield from _known(f"{at}.children.{child_name}.key", "field", field, child.fields)
        yield from _fields(config, f"{at}.children.{child_name}", entity, child.fields, child.key)
    for system, binding in entity.bindings.items():
        yield from _known(f"{at}.in", "system", system, config.systems)
        yield from _binding(f"{at}.in.{system}", entity, binding)
        yield from _owners_of_what_is_only_read(f"{at}.in.{system}", system, entity.fields, binding)
        for child_name, where in binding.children.items():
            fields = entity.children[child_name].fields if child_name in entity.children else {}
            yield from _owners_of_what_is_only_read(f"{at}.in.{system}.children.{child_name}", system, fields, where)


def _owners_of_what_is_only_read(
    at: str, system: str, fields: dict[str, c.Field], binding: c.Binding | c.ChildBinding
) -> Iterator[str]:
    """What cannot be written in a system must be its own: nobody could put it right there."""
    yield from config_transforms.columns_bound_twice(f"{at}.columns", system, fields, binding.columns)
    for name in config_parts.read_only_fields(binding):
        if name in fields and fields[name].owner != system:
            yield f"{at}.columns.{name}: can only be read here, so its owner must be {system!r}, not {fields[name].owner!r}"


def _fields(config: c.Config, at: str, entity: c.Entity, fields: dict[str, c.Field], key: list[str]) -> Iterator[str]:
    for name, field in fields.items():
        try:
            kind = parse_type(field.type)
        except ValueError as error:
            yield f"{at}.fields.{name}.type: {error}"
            continue
        if kind.kind == "ref":
            yield from _known(f"{at}.fields.{name}.type", "entity", kind.arguments[0], config.entities)
        if field.owner is not None and field.owner not in config_ownership.SHARED:
            yield from _known(f"{at}.fields.{name}.owner", "system of this entity", field.owner, entity.bindings)
        elif field.owner is None and not entity.ownership and name not in key:
            yield f"{at}.fields.{name}: has no owner; add owner = … or [[{at}.ownership]] rules"


def _conditions(at: str, entity: c.Entity) -> Iterator[str]:
    for index, rule in enumerate(entity.ownership):
        yield from _known(f"{at}.ownership[{index}].owner", "system of this entity", rule.owner, entity.bindings)
        try:
            if "record" not in compile_condition(rule.when).variables():
                yield f"{at}.ownership[{index}].when: looks at no field; write record.FIELD, as in record.status == 'new'"
        except ValueError as error:
            yield f"{at}.ownership[{index}].when: not a CEL expression: {str(error).splitlines()[0]}"
        for field in re.findall(r"\brecord\.([A-Za-z_]\w*)", rule.when):
            yield from _known(f"{at}.ownership[{index}].when", "field", field, entity.fields)


def _binding(at: str, entity: c.Entity, binding: c.Binding) -> Iterator[str]:
    yield from _columns(f"{at}.columns", entity.fields, entity.key, binding.columns)
    yield from config_parts.problems(at, entity.fields, entity.key, binding)
    yield from _keys_stand_for_themselves(f"{at}.columns", entity.key, binding.columns)
    for field in entity.key:
        if field not in binding.columns and field not in binding.key and not binding.xref:
            yield f'{at}.columns: key field {field!r} is not bound; add {field} = "column"'
    for field in binding.key:
        yield from _known(f"{at}.key", "key field", field, entity.key)
    if isinstance(binding.on_delete, c.OnDeleteArchive):
        yield from _archive(f"{at}.on-delete.archive", entity, binding, binding.on_delete)
    for child, where in binding.children.items():
        if child not in entity.children:
            yield from _known(f"{at}.children", "child collection", child, entity.children)
            continue
        yield from _columns(
            f"{at}.children.{child}.columns", entity.children[child].fields, entity.children[child].key, where.columns
        )
        yield from config_parts.problems(
            f"{at}.children.{child}", entity.children[child].fields, entity.children[child].key, where
        )
        yield from _keys_stand_for_themselves(
            f"{at}.children.{child}.columns", entity.children[child].key, where.columns
        )
        for field in entity.children[child].key:
            if field not in where.columns:
                yield f'{at}.children.{child}.columns: key field {field!r} is not bound; add {field} = "column"'


def _keys_stand_for_themselves(at: str, key: list[str], columns: dict[str, str | cc.Column]) -> Iterator[str]:
    for field in key:
        column = columns.get(field)
        if isinstance(column, cc.Column) and column.unfit != "park":
            yield f"{at}.{field}.unfit: a key cannot be replaced; two records could get the same"


def _archive(at: str, entity: c.Entity, binding: c.Binding, on_delete: c.OnDeleteArchive) -> Iterator[str]:
    for field, value in on_delete.archive.items():
        yield from _known(at, "bound field", field, binding.columns)
        if field in entity.fields:
            yield from _members(f"{at}.{field}", entity.fields[field], [str(value)])


def _members(at: str, field: c.Field, values: Iterable[str]) -> Iterator[str]:
    """An enum field takes its members only. A type that does not parse is reported where it stands."""
    try:
        kind = parse_type(field.type)
    except ValueError:
        return
    if kind.kind == "enum":
        for value in values:
            yield from _known(at, "member of the enum", value, kind.arguments)


def _columns(at: str, fields: dict[str, c.Field], key: list[str], columns: dict[str, str | cc.Column]) -> Iterator[str]:
    for field, column in columns.items():
        yield from _known(at, "field", field, fields)
        if field in fields and isinstance(column, cc.Column):
            yield from _unfit(f"{at}.{field}", fields[field], column.unfit)
    yield from config_transforms.problems(at, fields, key, columns)


def _unfit(at: str, field: c.Field, unfit: cc.Unfit) -> Iterator[str]:
    if unfit == "park":
        return
    if field.type.startswith("ref"):
        yield f"{at}.unfit: nothing can stand in for a reference"
    elif isinstance(unfit, cc.UnfitValue):
        try:
            typed(column_text(unfit.value), parse_type(field.type))
        except ValueError as error:
            yield f"{at}.unfit: {error}"


def _tables_written_twice(config: c.Config) -> Iterator[str]:
    """A table both bound to an entity and replicated onto, or replicated both ways, would be fought over."""
    bound = {(s, b.table) for e in config.entities.values() for s, b in e.bindings.items()}
    copied: dict[tuple[str, str], int] = {}
    for index, copy in enumerate(config.replicate):
        for table in copy.tables:
            bare = copy.rename.get(table, table).rpartition(".")[2]
            here = (copy.target, bare)
            if any(s == copy.target and t.rpartition(".")[2] == bare for s, t in bound):
                yield f"replicate[{index}].tables: {table!r} would overwrite a table that an entity owns in {copy.target!r}"
            if here in copied:
                yield f"replicate[{index}].tables: {table!r} is already copied to {copy.target!r} by replicate[{copied[here]}]"
            copied[here] = index
    for index, copy in enumerate(config.replicate):
        for table in copy.tables:
            if (copy.source, table.rpartition(".")[2]) in copied:
                yield f"replicate[{index}].tables: {table!r} is copied both ways; use an entity with owners instead"
