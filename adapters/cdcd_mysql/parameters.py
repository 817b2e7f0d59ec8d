"""Rows as parameters of one INSERT, which the server carries out for each of them. Pure.

MariaDB alone can do so (COM_STMT_BULK_EXECUTE). It has nothing to parse then: a new row takes a third less of it.
Format: MariaDB's documentation of its protocol, "COM_STMT_BULK_EXECUTE" and "COM_STMT_EXECUTE, Binary encoding".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from struct import Struct
from typing import Any, Final, TypeAlias

from pymysql.constants import FIELD_TYPE

from cdcd.model import Value
from cdcd_mysql.connection import Parameters
from cdcd_mysql.jobs import Job
from cdcd_mysql.literals import integer_limits
from cdcd_mysql.schema import INTEGER_BITS, LiveColumn

_Values: TypeAlias = Sequence[Any]
_Pieces: TypeAlias = list[list[bytes]]
"""For each piece of a parameter a column of them, so many as there are rows."""
_Kind: TypeAlias = tuple[bytes, Callable[[_Values], _Pieces]]
"""A column's type for the server, and what encodes its values."""
_ROWS_MIN: Final = 50
"""For fewer, preparing the statement and a message of its own are more than what they save."""
_HEAD_SIZE: Final = 7
"""Of a message: the command, the statement's number, flags."""
_UNSIGNED: Final = 0x80
_GIVEN: Final = b"\0"
_NULL: Final = b"\1"
_SHORT: Final = [bytes([0, size]) for size in range(0xFB)]
"""What comes before a given text of so many bytes."""
_LONG: Final = [(1 << 16, b"\xfc", 2), (1 << 24, b"\xfd", 3), (1 << 64, b"\xfe", 8)]
_SIGNED_NUMBER: Final = Struct("<q").pack
_UNSIGNED_NUMBER: Final = Struct("<Q").pack
_DOUBLE: Final = Struct("<d").pack


def parameters_of(job: Job, size_max: int) -> Parameters | None:
    """The rows of an INSERT, in less than `size_max` bytes.

    None where they are few or take more, are differences to what is there, or are numbered by the server, which leaves gaps
    then; and where literals say something else: there are columns of other types, or a text that cannot be encoded.
    """
    kinds = [kind for kind in map(_kind, job.columns) if kind is not None]
    if not kinds or len(kinds) < len(job.columns) or len(job.rows) < _ROWS_MIN:
        return None
    if job.write.added or job.written.takes_numbers:
        return None
    values = list(zip(*job.rows, strict=True))
    try:
        pieces = [_pieces(encode, values[n]) for (_, encode), n in zip(kinds, job.written.places, strict=True)]
    except UnicodeEncodeError:
        return None
    rows = b"".join(chain.from_iterable(zip(*chain.from_iterable(pieces), strict=True)))
    types = b"".join([types for types, _ in kinds])
    return Parameters(types, rows) if _HEAD_SIZE + len(types) + len(rows) < size_max else None


def takes(column: LiveColumn) -> bool:
    """Whether its values can be parameters."""
    return _kind(column) is not None


def _pieces(encode: Callable[[_Values], _Pieces], values: Sequence[Value]) -> _Pieces:
    if None not in values:
        return encode(values)
    given = [value for value in values if value is not None]
    joined = iter([b"".join(pieces) for pieces in zip(*encode(given), strict=True)] if given else [])
    return [[_NULL if value is None else next(joined) for value in values]]


def _kind(column: LiveColumn) -> _Kind | None:
    """None where the server would read a parameter otherwise than the literal."""
    name = column.data_type
    if name in INTEGER_BITS:
        if integer_limits(column.type)[0] < 0:
            return _type(FIELD_TYPE.LONGLONG), _signed
        return _type(FIELD_TYPE.LONGLONG, _UNSIGNED), _unsigned
    if name in _TEXTS:
        return None if column.charset is None else (_type(FIELD_TYPE.VAR_STRING), _texts)
    if name in _BYTES:
        return None if column.charset is not None else (_type(FIELD_TYPE.BLOB), _sized)
    return _OTHERS.get(name)


def _type(field_type: int, flag: int = 0) -> bytes:
    return bytes([field_type, flag])


def _fixed(encoded: Iterable[bytes]) -> _Pieces:
    values = [*encoded]
    return [[_GIVEN] * len(values), values]


def _sized(encoded: Sequence[bytes]) -> _Pieces:
    try:
        return [[_SHORT[size] for size in map(len, encoded)], [*encoded]]
    except IndexError:
        return [[_size(len(value)) for value in encoded], [*encoded]]


def _size(size: int) -> bytes:
    if size < len(_SHORT):
        return _SHORT[size]
    mark, width = next((mark, width) for limit, mark, width in _LONG if size < limit)
    return _GIVEN + mark + size.to_bytes(width, "little")


def _signed(values: _Values) -> _Pieces:
    return _fixed(map(_SIGNED_NUMBER, values))


def _unsigned(values: _Values) -> _Pieces:
    return _fixed(map(_UNSIGNED_NUMBER, values))


def _doubles(values: _Values) -> _Pieces:
    return _fixed(map(_DOUBLE, values))


def _texts(values: _Values) -> _Pieces:
    """Texts, and what is stored as the text that Python makes of it: integers."""
    return _sized([value.encode() for value in map(str, values)])


def _instants(values: _Values) -> _Pieces:
    return _sized([value[:-1].encode() for value in values])


_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json", "enum"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_OTHERS: Final[Mapping[str, _Kind]] = {
    "double": (_type(FIELD_TYPE.DOUBLE), _doubles),
    **dict.fromkeys(["decimal", "date", "time", "datetime"], (_type(FIELD_TYPE.VAR_STRING), _texts)),
    "timestamp": (_type(FIELD_TYPE.VAR_STRING), _instants),
}
