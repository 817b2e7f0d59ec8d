"""The type of a field that two columns share, and how either column is written in the configuration. Pure."""

from __future__ import annotations

from cdcd.config_columns import Column
from cdcd.init.evidence import Relation
from cdcd.init.wide import WideColumn
from cdcd.values import ValueType

_PLAIN = ("uuid", "json", "time", "date", "datetime", "instant", "bytes", "float")


def common_type(one: ValueType, other: ValueType, relation: Relation | None) -> str | None:
    """The type that has the values of both: the wider one. None where there is none that the configuration knows."""
    if relation is not None and relation.kind == "map":
        assert relation.maps is not None
        if "boolean" in (one.kind, other.kind):
            return "boolean"
        return f"enum({','.join(dict.fromkeys(relation.maps[0].values()))})"
    if relation is not None and relation.kind == "scale":
        plain = other if relation.scaled_side == 0 else one
        return str(plain) if plain.kind == "decimal" else "decimal"
    if relation is not None and relation.kind == "time-zone":
        return "instant"
    return _wider(one, other)


def _wider(one: ValueType, other: ValueType) -> str | None:
    kinds = {one.kind, other.kind}
    if kinds == {"text"}:
        limits = [kind.number(0) for kind in (one, other)]
        return "text" if None in limits else f"text({max(limit for limit in limits if limit is not None)})"
    if "enum" in kinds:
        return str(one if one.kind == "enum" else other) if kinds <= {"enum", "text"} else None
    if "boolean" in kinds:
        return "boolean" if kinds <= {"boolean", "integer"} else None
    if kinds == {"decimal"}:
        return _wider_decimal(one, other)
    if "decimal" in kinds:
        decimal = one if one.kind == "decimal" else other
        return (
            str(decimal)
            if kinds <= {"decimal", "integer", "text"}
            else "decimal"
            if kinds <= {"decimal", "float"}
            else None
        )
    if kinds == {"integer"}:
        return "integer"
    if "date" in kinds and kinds <= {"date", "datetime"}:
        return "date"
    if "text" in kinds and kinds <= {"text", "uuid", "integer"}:
        return "text" if "uuid" in kinds else "integer"
    return one.kind if len(kinds) == 1 and one.kind in _PLAIN else None


def _wider_decimal(one: ValueType, other: ValueType) -> str:
    sizes = [(kind.number(0), kind.number(1)) for kind in (one, other)]
    whole, fraction = 0, 0
    for precision, scale in sizes:
        if precision is None or scale is None:
            return "decimal"
        whole, fraction = max(whole, precision - scale), max(fraction, scale)
    return f"decimal({whole + fraction},{fraction})"


def side_column(column: WideColumn, side: int, relation: Relation | None) -> str | Column:
    """How the configuration binds a column of that side."""
    if relation is None or relation.kind == "equal":
        return column.name
    if relation.kind == "scale":
        return Column(column=column.name, scale=relation.scale) if side == relation.scaled_side else column.name
    if relation.kind == "time-zone":
        return Column(column=column.name, time_zone=relation.zone) if column.type.kind == "datetime" else column.name
    assert relation.maps is not None
    mapping = relation.maps[side]
    if all(value == member for value, member in mapping.items()) and column.type.kind in ("text", "enum", "boolean"):
        return column.name
    return Column(column=column.name, map=dict(mapping))
