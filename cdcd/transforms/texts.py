"""Transforms of text. Those that make a text plainer do so in both directions: neither side sees the difference."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from cdcd import temporal
from cdcd.config_columns import Split, Transform
from cdcd.numeric import fit_decimal
from cdcd.temporal import Convert
from cdcd.transforms.step import DECIMAL, TEXT, Place, Step
from cdcd.values import ValueRefused, ValueType, misfit

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)


def _plainer(convert: Convert) -> Step:
    return Step(TEXT, TEXT, convert, convert, is_lossy=True)


def trim(_transform: Transform, _place: Place) -> Step:
    """Without white space at its ends."""
    return _plainer(str.strip)


def case(transform: Transform, _place: Place) -> Step:
    """In small or in capital letters."""
    return _plainer(str.lower if transform.case == "lower" else str.upper)


def normalise(transform: Transform, _place: Place) -> Step:
    """In one of Unicode's normal forms."""
    form = transform.normalise
    assert form is not None
    return _plainer(lambda text: unicodedata.normalize(form, text))


def truncate(transform: Transform, _place: Place) -> Step:
    """No longer than so many characters."""
    limit = transform.truncate
    return _plainer(lambda text: text[:limit])


def template(transform: Transform, _place: Place) -> Step:
    """The column holds the field's text within other text."""
    assert transform.template is not None
    prefix, _, suffix = transform.template.partition("{}")
    size_min = len(prefix) + len(suffix)

    def read(text: str) -> str:
        if len(text) < size_min or not text.startswith(prefix) or not text.endswith(suffix):
            raise ValueRefused(
                "a column value does not have the form of its template",
                remedy="correct the value or the template of the binding",
            )
        return text[len(prefix) : len(text) - len(suffix)]

    return Step(TEXT, TEXT, read, lambda text: f"{prefix}{text}{suffix}")


def decimal_mark(transform: Transform, place: Place) -> Step:
    """A number as text, with another character than a point before its fraction."""
    mark = transform.decimal_mark
    assert mark is not None
    outer = place.after if place.after.kind == "decimal" else DECIMAL
    fit = fit_decimal(DECIMAL, outer)

    def read(text: str) -> Any:
        number = text.replace(mark, ".")
        if ("." in text and mark != ".") or _NUMBER.fullmatch(number) is None:
            raise misfit(outer, f"the text is no plain number with {mark!r} before its fraction")
        return fit(number)

    return Step(TEXT, outer, read, lambda number: number.replace(".", mark))


# ---- one of two parts ----------------------------------------------------------------------------------------------


def split(transform: Transform, _place: Place) -> Step:
    """What stands before or after a separator. It is written together with the other part (`groups`)."""
    assert transform.split is not None
    return Step(TEXT, TEXT, token(transform.split), makes_null=True)


def token(spec: Split) -> Convert:
    """The part of a text that a field takes; None where the text has no such part."""
    by, is_before, is_first = spec.by, spec.take.startswith("before"), spec.take.endswith("first")

    def read(text: str) -> str | None:
        before, separator, after = text.partition(by) if is_first else text.rpartition(by)
        if separator:
            return before if is_before else after
        return text if is_before == is_first else None

    return read


# ---- dates and times -------------------------------------------------------------------------------------------------

_DIRECTIVES = {
    "%Y": r"(?P<Y>\d{4})",
    "%m": r"(?P<m>\d\d)",
    "%d": r"(?P<d>\d\d)",
    "%H": r"(?P<H>\d\d)",
    "%M": r"(?P<M>\d\d)",
    "%S": r"(?P<S>\d\d)",
    "%f": r"(?P<f>\d{6})",
}
_DATE, _TIME = ("Y", "m", "d"), ("H", "M", "S", "f")


def date_format(transform: Transform, _place: Place) -> Step:
    """A date, time or datetime in the one text that a pattern gives it."""
    assert transform.format is not None
    pattern, directives, outer = compile_format(transform.format)
    parse = temporal.from_text(TEXT, outer)
    layout = re.sub(r"%(.)", lambda match: "%" if match[1] == "%" else f"{{{match[1]}}}", _braced(transform.format))
    canonical = re.compile(_CANONICAL[outer.kind], re.ASCII)

    def read(text: str) -> Any:
        match = pattern.fullmatch(text)
        if match is None:
            raise misfit(outer, "the text has another form than the format says")
        parts = match.groupdict()
        return parse(_canonical_text(outer, parts))

    def write(value: str) -> str:
        match = canonical.fullmatch(value)
        if match is None:
            raise misfit(TEXT, "it has no form of four digits for the year and two for the hour")
        parts = {name: part or "" for name, part in match.groupdict().items()}
        parts["f"] = parts.get("f", "").ljust(6, "0")
        if any(int(part) for name, part in parts.items() if name in _TIME and name not in directives):
            raise misfit(TEXT, "it is finer than the format")
        return layout.format_map(parts)

    return Step(TEXT, outer, read, write)


_CANONICAL = {
    "date": r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)",
    "time": r"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:\.(?P<f>\d{1,6}))?",
    "datetime": r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:\.(?P<f>\d{1,6}))?",
}


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _canonical_text(kind: ValueType, parts: dict[str, str]) -> str:
    day = f"{parts.get('Y')}-{parts.get('m')}-{parts.get('d')}"
    clock = ":".join(parts.get(name, "00") for name in ("H", "M", "S"))
    fraction = parts.get("f", "").rstrip("0")
    clock = f"{clock}.{fraction}" if fraction else clock
    return {"date": day, "time": clock, "datetime": f"{day} {clock}"}[kind.kind]


def compile_format(text: str) -> tuple[re.Pattern[str], frozenset[str], ValueType]:
    """The pattern of a format, what it has, and of which type that is. Raises ValueError for one without a way back."""
    pattern, directives = "", []
    for piece in re.findall(r"%.?|[^%]+", text):
        if piece in _DIRECTIVES:
            directives.append(piece[1])
            pattern += _DIRECTIVES[piece]
        elif piece.startswith("%") and piece != "%%":
            raise ValueError(f"unknown directive {piece!r}; known: {', '.join(_DIRECTIVES)}, %%")
        else:
            pattern += re.escape("%" if piece == "%%" else piece)
    if len(set(directives)) != len(directives):
        raise ValueError("a directive stands in it twice")
    stated = frozenset(directives)
    return re.compile(pattern, re.ASCII), stated, _format_type(stated)


def _format_type(directives: frozenset[str]) -> ValueType:
    has_date = bool(directives & {*_DATE})
    if has_date and not directives >= {*_DATE}:
        raise ValueError("a date needs %Y, %m and %d")
    has_time = bool(directives & {*_TIME})
    finest = max((_TIME.index(name) for name in directives & {*_TIME}), default=-1)
    if not directives >= {*_TIME[: finest + 1]}:
        raise ValueError("a time needs all from %H to its finest part")
    if not has_date and not has_time:
        raise ValueError("it has neither a date nor a time; give %Y, %m, %d or %H, %M, %S")
    if has_date and has_time:
        return ValueType("datetime")
    return ValueType("date" if has_date else "time")
