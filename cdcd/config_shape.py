"""What in raw configuration does not have the shape of its structs: every place at once, in words, with a way out.

msgspec stops at the first mistake and calls a dictionary's key `[...]`; people want all of them, by name. So when it
refuses, the raw data is walked along the types once more.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

_WORDS: Final[Mapping[Any, str]] = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list in brackets",
    dict: "a table",
}


class Problem(NamedTuple):
    """One mistake: where, what, and what to do. `is_key`: a key is wrong or missing, not a value."""

    path: str
    message: str
    is_key: bool


def problems(raw: object, kind: Any, path: str = "") -> Iterator[Problem]:
    """Everything in `raw` that msgspec would refuse as `kind`, in the order of the file.

    Values below "systems." are not repeated: a password may stand where its file should be named.
    """
    kind = _choice(raw, kind)
    origin = get_origin(kind)
    if isinstance(raw, dict) and _is_struct(kind):
        yield from _struct_problems(raw, kind, path)
    elif isinstance(raw, dict) and origin is dict:
        key_kind, value_kind = get_args(kind)
        for key, value in raw.items():
            yield from _leaf_problems(key, key_kind, path or key, is_key=True)
            yield from problems(value, value_kind, _joined(path, key))
    elif isinstance(raw, list) and origin in (list, tuple):
        for index, value in enumerate(raw):
            yield from problems(value, get_args(kind)[0], f"{path}[{index}]")
    else:
        yield from _leaf_problems(raw, kind, path, is_key=False)


def _struct_problems(raw: dict[str, Any], kind: type[msgspec.Struct], path: str) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    meant = set()
    for key, value in raw.items():
        if key in fields:
            yield from problems(value, fields[key].type, _joined(path, key))
        elif kind.__struct_config__.forbid_unknown_fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.6)
            meant.update(near)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            yield Problem(path or "top level", f"unknown key {key!r}; {hint}", is_key=True)
    for name, field in fields.items():
        if field.required and name not in raw and name not in meant:
            yield Problem(
                path or "top level", f"missing key {name!r}; add {name} = {_example(field.type)}", is_key=True
            )


def _leaf_problems(raw: object, kind: Any, path: str, *, is_key: bool) -> Iterator[Problem]:
    try:
        msgspec.convert(raw, kind, strict=True)
    except msgspec.ValidationError as error:
        secret = path.startswith("systems.") and not is_key
        shown = f", got {raw!r}" if isinstance(raw, str | int | float) and not secret else f", got {_word(type(raw))}"
        yield Problem(path, f"expected {_expected(kind, str(error))}{shown}{_near(raw, kind)}", is_key)


def _choice(raw: object, kind: Any) -> Any:
    """The member of a union that `raw` was meant to be: a table means a struct or dictionary, a list means a list."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    for member in get_args(kind):
        if isinstance(raw, dict) and (_is_struct(member) or get_origin(member) is dict):
            return member
        if isinstance(raw, list) and get_origin(member) is list:
            return member
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _expected(kind: Any, message: str) -> str:
    """The rule in words. What msgspec says of limits is kept: "Expected `int` >= 1"."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, *metas = get_args(kind)
        meta = next((m for m in metas if isinstance(m, msgspec.Meta)), None)
        if meta is not None and meta.description is not None:
            return meta.description
        _, _, limit = message.partition("` ")
        return _word(base) + (f" {limit.partition(' - at')[0]}" if limit else "")
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if origin in (Union, types.UnionType):
        words = [_expected(member, message) for member in get_args(kind) if member is not type(None)]
        return " or ".join(words)
    return _word(origin or kind)


def _word(kind: Any) -> str:
    if _is_struct(kind):
        return f"a table of {', '.join(field.encode_name for field in msgspec.structs.fields(kind))}"
    return _WORDS.get(kind) or str(getattr(kind, "__name__", kind))


def _near(raw: object, kind: Any) -> str:
    """A suggestion when `raw` is nearly one of the allowed words."""
    members = [kind, *get_args(kind)] if get_origin(kind) in (Union, types.UnionType) else [kind]
    words = [str(word) for member in members if get_origin(member) is Literal for word in get_args(member)]
    near = difflib.get_close_matches(raw, words, n=1) if isinstance(raw, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _example(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    examples = {str: '"…"', int: "…", bool: "true", list: '["…"]', tuple: '["…"]'}
    return examples.get(get_origin(kind) or kind, "{ … }")
