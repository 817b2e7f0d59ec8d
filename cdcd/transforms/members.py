"""A member of a JSON object as a field. It is only read: the other members of the column belong to nobody here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

from cdcd.config_columns import Transform
from cdcd.json_content import canonical_json
from cdcd.numeric import decimal_text
from cdcd.transforms.step import DECIMAL, TEXT, Place, Step
from cdcd.type_pairs import between
from cdcd.values import ValueType, misfit

_JSON: Final = ValueType("json")
_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw], float_hook=Decimal)
_value: Final = msgspec.json.Decoder(float_hook=Decimal)


def member(transform: Transform, place: Place) -> Step:
    """The value of one member; NULL where it is missing or null."""
    name, after = transform.member, place.after
    content = _content(after)
    assert name is not None

    def read(text: str) -> Any:
        try:
            found = _decoder.decode(text).get(name)
        except msgspec.ValidationError:
            raise misfit("json", "it is no object, so it has no members") from None
        except msgspec.DecodeError:
            raise misfit("json", "the text is not valid JSON") from None
        return None if found is None or bytes(found) == b"null" else content(bytes(found).decode())

    return Step(_JSON, after, read, makes_null=True)


def _content(kind: ValueType) -> Any:
    """From a member's JSON to a value of the field: texts of texts, numbers of numbers, nothing of something else."""
    if kind.kind == "json":
        return canonical_json
    wanted: tuple[type, ...] = (str,)
    if kind.kind == "boolean":
        wanted = (bool,)
    elif kind.kind in ("integer", "decimal", "float"):
        wanted = (int, Decimal)
    convert = None if bool in wanted else between(DECIMAL if int in wanted else TEXT, kind)

    def read(text: str) -> Any:
        value = _value.decode(text)
        if type(value) not in wanted:
            raise misfit(kind, "the member of the JSON object is of another kind")
        if int in wanted:
            value = decimal_text(Decimal(value))
        return convert(value) if convert is not None else value

    return read
