"""Decodes the rows of a table with functions compiled for it, from the log's bytes straight to canonical values.

For every combination of table map and columns present (binlog_row_image), Python source is generated once: runs of
columns of fixed size are unpacked by one struct call, NULLs are looked for only in columns that can have them, the
before image of an update is stepped over except for its identity columns. Row format: MySQL source,
libbinlogevents/include/rows_event.h, class Rows_event. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import ABSENT, Row, Value
from cdcd_mysql.charsets import Charset
from cdcd_mysql.fields import FRACTION_NAMES, Field, Namespace, field_of
from cdcd_mysql.jsonb import json_text
from cdcd_mysql.jsondiff import apply_diffs
from cdcd_mysql.scalars import CLOCK_MINUTES, DATES, DAY_MINUTES, EPOCH_DAYS, SECONDS, ZERO_INSTANT
from cdcd_mysql.tablemap import FieldType, MappedColumn
from cdcd_mysql.wire import Reader as WireReader

Reader: TypeAlias = Callable[[bytes, int, int], tuple[list[Row], list[Row | None] | None]]
"""Of `data[place:end]` the rows of an event, and for an UPDATE the old ones where the identity changed (None: nowhere)."""
RowsFunction: TypeAlias = Callable[[bytes, int, int], tuple[list[Row], int]]
UpdatesFunction: TypeAlias = Callable[[bytes, int, int], tuple[list[Row], dict[int, Row], int]]
_BITMAP_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_INDENT: Final = "    "


class _Pending(NamedTuple):
    """Where a branch of the generated code begins: what `_Source` has not written yet."""

    place: int
    codes: list[str]
    targets: list[str]
    size: int
    after: list[str]


class _Source:
    """Lines of generated code. `place` is the constant that, added to `p`, gives where the next column starts."""

    def __init__(self, names: Namespace) -> None:
        self.names = names
        self.lines: list[str] = []
        self.depth = 0
        self.place = 0
        self._codes: list[str] = []
        self._targets: list[str] = []
        self._size = 0
        self._after: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(_INDENT * self.depth + text)

    def fixed(self, codes: str, targets: Sequence[str], size: int, after: str = "") -> None:
        """Unpack `codes` into `targets` with the next flush, then run the statement `after`."""
        self._codes.append(codes)
        self._targets += targets
        self._size += size
        if after:
            self._after.append(after)

    def skip(self, size: int) -> None:
        """Leave out some bytes."""
        self._codes.append(f"{size}x")
        self._size += size

    def flush(self) -> None:
        """Write the unpacking of what is pending."""
        while self._codes and self._codes[-1].endswith("x"):
            self._codes.pop()
        before = 0
        while self._codes and self._codes[0].endswith("x"):
            before += int(self._codes.pop(0)[:-1])
        place = f"p + {self.place + before}" if self.place + before else "p"
        if self._codes == ["B"]:
            self.line(f"{self._targets[0]} = data[{place}]")  # a third of what it takes to unpack it
        elif self._targets:
            unpack = struct.Struct("<" + "".join(self._codes)).unpack_from
            name = f"u{len(self.names)}"
            self.names[name] = unpack
            self.line(f"{', '.join(self._targets)}{',' if len(self._targets) == 1 else ''} = {name}(data, {place})")
        for statement in self._after:
            self.line(statement)
        self.place += self._size
        self._codes, self._targets, self._size, self._after = [], [], 0, []

    def knows(self, target: str) -> bool:
        """Whether nothing is pending for that variable."""
        return target not in self._targets

    def pending(self) -> _Pending:
        """What is not written yet, for another branch of the code to go on from."""
        return _Pending(self.place, [*self._codes], [*self._targets], self._size, [*self._after])

    def resume(self, pending: _Pending) -> None:
        """Go on from there."""
        self.place, self._size = pending.place, pending.size
        self._codes, self._targets, self._after = [*pending.codes], [*pending.targets], [*pending.after]

    def settle(self) -> None:
        """Flush, and make `p` itself the place."""
        self.flush()
        if self.place:
            self.line(f"p += {self.place}")
            self.place = 0


class RowDecoder:
    """Decodes rows of one table. Raises DecodeError, or what slicing and unpacking wrong bytes raises."""

    def __init__(
        self,
        columns: Sequence[MappedColumn],
        charsets: Sequence[Charset | None],
        hints: Sequence[str],
        identity: Sequence[int],
    ) -> None:
        self._columns = columns
        self._charsets = charsets
        self._hints = hints
        self._identity = frozenset(identity)
        self._functions: dict[tuple[bytes, object, bool], Any] = {}

    def rows_reader(self, present: bytes) -> Reader:
        """Reads WRITE and DELETE events. `present` is their bitmap of columns; others are ABSENT."""
        decode = self._rows_function(present, tolerant=False)

        def read(data: bytes, place: int, end: int) -> tuple[list[Row], None]:
            try:
                rows, stop = decode(data, place, end)
            except UnicodeDecodeError:
                rows, stop = self._rows_function(present, tolerant=True)(data, place, end)
            if stop != end:
                raise _wrong_end()
            return rows, None

        return read

    def updates_reader(self, before: bytes, after: bytes) -> Reader:
        """Reads UPDATE events. Identity columns that the after image leaves out are those of the before image."""
        decode = self._updates_function(before, after, tolerant=False)

        def read(data: bytes, place: int, end: int) -> tuple[list[Row], list[Row | None] | None]:
            try:
                rows, moved, stop = decode(data, place, end)
            except UnicodeDecodeError:
                rows, moved, stop = self._updates_function(before, after, tolerant=True)(data, place, end)
            if stop != end:
                raise _wrong_end()
            return rows, [moved.get(number) for number in range(len(rows))] if moved else None

        return read

    def partial_updates_reader(self, before: bytes, after: bytes) -> Reader:
        """Reads PARTIAL_UPDATE events, where a JSON column's new value may be its differences to the old one."""

        def read(data: bytes, place: int, end: int) -> tuple[list[Row], list[Row | None] | None]:
            try:
                rows, olds = self._partial_updates(data, place, end, before, after, tolerant=False)
            except UnicodeDecodeError:
                rows, olds = self._partial_updates(data, place, end, before, after, tolerant=True)
            return rows, olds if any(olds) else None

        return read

    def _partial_updates(
        self, data: bytes, place: int, end: int, before: bytes, after: bytes, *, tolerant: bool
    ) -> tuple[list[Row], list[Row | None]]:
        json_places = [n for n, column in enumerate(self._columns) if column.type == FieldType.JSON]
        kept = set(self._identity) - set(self._places(after))
        rows: list[Row] = []
        olds: list[Row | None] = []
        while place < end:
            read_old = self._rows_function(before, tolerant=tolerant, partial=frozenset())
            (old,), place = read_old(data, place, place + 1)
            partial, place = _partial_places(json_places, data, place, end)
            read_new = self._rows_function(after, tolerant=tolerant, partial=partial)
            (new,), place = read_new(data, place, place + 1)
            for n in json_places:
                new[n] = _json_after(old[n], new[n], is_partial=n in partial)
            for n in kept:
                new[n] = old[n]
            rows.append(new)
            olds.append(None if all(new[n] == old[n] for n in self._identity) else self._with_text(old, json_places))
        if place != end:
            raise _wrong_end()
        return rows, olds

    def _with_text(self, row: Row, json_places: Iterable[int]) -> Row:
        for n in json_places:
            row[n] = json_text(value) if isinstance(value := row[n], bytes) else value
        return row

    def _rows_function(self, present: bytes, *, tolerant: bool, partial: frozenset[int] | None = None) -> RowsFunction:
        """With `partial`, JSON stays as it is in the log, and in these columns it is differences (four bytes of size)."""
        function: RowsFunction | None = self._functions.get((present, partial, tolerant))
        if function is None:
            function = self._compile_rows(present, tolerant=tolerant, partial=partial)
            self._functions[present, partial, tolerant] = function
        return function

    def _updates_function(self, before: bytes, after: bytes, *, tolerant: bool) -> UpdatesFunction:
        function: UpdatesFunction | None = self._functions.get((before, after, tolerant))
        if function is None:
            function = self._compile_updates(before, after, tolerant=tolerant)
            self._functions[before, after, tolerant] = function
        return function

    def _compile_rows(self, present: bytes, *, tolerant: bool, partial: frozenset[int] | None) -> RowsFunction:
        source = _Source(_namespace())
        source.line("def decode(data, p, end):")
        source.depth = 1
        source.line("rows = []; append = rows.append")
        source.line("while p < end:")
        source.depth = 2
        places = self._places(present)
        fields = self._fields(places, tolerant=tolerant)
        if partial is not None:
            fields = [(n, self._raw_field(n, field, is_partial=n in partial)) for n, field in fields]
        image = _Image(source, "a", fields, self._nullable(places), set(places))
        image.write(lambda values: source.line(f"append([{self._row(values, {})}])"))
        source.depth = 1
        source.line("return rows, p")
        function: RowsFunction = _compiled(source)
        return function

    def _compile_updates(self, before: bytes, after: bytes, *, tolerant: bool) -> UpdatesFunction:
        source = _Source(_namespace())
        source.names["before"] = self._rows_function(before, tolerant=tolerant)
        source.line("def decode(data, p, end):")
        source.depth = 1
        source.line("rows = []; append = rows.append; moved = {}")
        source.line("while p < end:")
        source.depth = 2
        source.line("start = p")
        old_places, new_places = self._places(before), self._places(after)
        wanted = self._identity & set(old_places)
        old = _Image(
            source, "b", self._fields(old_places, tolerant=tolerant), self._nullable(old_places), wanted, assign=wanted
        )
        old.write(lambda _: None)
        compared = sorted(wanted & set(new_places))
        new = _Image(
            source,
            "a",
            self._fields(new_places, tolerant=tolerant),
            self._nullable(new_places),
            set(new_places),
            assign=set(compared),
        )
        kept = {place: f"b{place}" for place in wanted - set(new_places)}
        new.write(lambda values: source.line(f"append([{self._row(values, kept)}])"))
        source.depth = 2
        if compared:
            source.line("if " + " or ".join(f"b{place} != a{place}" for place in compared) + ":")
            source.line(f"{_INDENT}moved[len(rows) - 1] = before(data, start, start + 1)[0][0]")
        source.depth = 1
        source.line("return rows, moved, p")
        function: UpdatesFunction = _compiled(source)
        return function

    def _places(self, present: bytes) -> list[int]:
        bits = int.from_bytes(present, "little")
        places = [place for place in range(len(self._columns)) if bits >> place & 1]
        if not places:
            raise DecodeError("a row image without columns")
        return places

    def _fields(self, places: Iterable[int], *, tolerant: bool) -> list[tuple[int, Field]]:
        return [
            (
                place,
                field_of(self._columns[place], place, self._charsets[place], self._hints[place], tolerant=tolerant),
            )
            for place in places
        ]

    def _raw_field(self, place: int, field: Field, *, is_partial: bool) -> Field:
        if self._columns[place].type != FieldType.JSON:
            return field
        return Field(4, "I", "{v}", prefixed=True) if is_partial else msgspec.structs.replace(field, expression="{v}")

    def _nullable(self, places: Iterable[int]) -> dict[int, int]:
        """Of the columns that can be NULL, the bit in the row's bitmap, which counts only columns that are present."""
        return {place: 1 << bit for bit, place in enumerate(places) if self._columns[place].nullable}

    def _row(self, values: dict[int, str], kept: dict[int, str]) -> str:
        return ", ".join(values.get(place) or kept.get(place) or "ABSENT" for place in range(len(self._columns)))


class _Image:
    """Writes the code that reads one row image: `wanted` columns get values, the others are stepped over.

    Variables are named by `prefix` and the column's place. Columns in `assign` are given to their variable, others may
    stay expressions.
    """

    def __init__(
        self,
        source: _Source,
        prefix: str,
        fields: list[tuple[int, Field]],
        nullable: dict[int, int],
        wanted: set[int] | frozenset[int],
        assign: Iterable[int] = (),
    ) -> None:
        self._source = source
        self._prefix = prefix
        self._fields = fields
        self._nullable = nullable
        self._wanted = wanted
        self._assign = frozenset(assign)

    def write(self, finish: Callable[[dict[int, str]], None]) -> None:
        """Write the code; `finish` gets the expression of every wanted column and uses them."""
        source = self._source
        source.place = 0
        size = (len(self._fields) + 7) // 8
        code = _BITMAP_CODES.get(size, f"{size}s")
        source.fixed(code, ["nulls"], size, "" if len(code) == 1 else "nulls = from_bytes(nulls, 'little')")
        first_nullable = next((n for n, (place, _) in enumerate(self._fields) if place in self._nullable), None)
        head = dict(self._plain(self._fields[:first_nullable]))
        if first_nullable is None:
            source.settle()
            finish(head)
            return
        if not source.knows("nulls"):
            source.flush()
        pending = source.pending()
        rest = self._fields[first_nullable:]
        source.line(f"if nulls & {sum(self._nullable.values())}:")
        source.depth += 1
        source.settle()
        values = head | dict(self._careful(rest))
        source.settle()
        finish(values)
        source.depth -= 1
        source.line("else:")
        source.depth += 1
        source.line("pass")  # columns of no bytes that nobody wants leave the block empty
        source.resume(pending)
        values = head | dict(self._plain(rest))
        source.settle()
        finish(values)
        source.depth -= 1

    def _plain(self, fields: Iterable[tuple[int, Field]]) -> Iterator[tuple[int, str]]:
        """Read columns that are not NULL."""
        for place, field in fields:
            value = self._read(place, field)
            if place not in self._wanted:
                continue
            if place in self._assign and value != f"{self._prefix}{place}":
                self._source.flush()
                self._source.line(f"{self._prefix}{place} = {value}")
                value = f"{self._prefix}{place}"
            yield place, value

    def _careful(self, fields: Iterable[tuple[int, Field]]) -> Iterator[tuple[int, str]]:
        """Read columns of which some may be NULL."""
        source = self._source
        for place, field in fields:
            if place not in self._nullable:
                yield from self._plain([(place, field)])
                continue
            source.settle()
            name = f"{self._prefix}{place}"
            source.line(f"if nulls & {self._nullable[place]}:")
            source.depth += 1
            source.line(f"{name} = None")
            source.depth -= 1
            source.line("else:")
            source.depth += 1
            source.line("pass")
            value = self._read(place, field)
            source.settle()
            if place in self._wanted and value != name:
                source.line(f"{name} = {value}")
            source.depth -= 1
            if place in self._wanted:
                yield place, name

    def _read(self, place: int, field: Field) -> str:
        """Write the reading of one column; return the expression of its value."""
        source, name = self._source, f"{self._prefix}{place}"
        source.names.update(field.names)
        if field.prefixed:
            return self._read_prefixed(place, field)
        if place not in self._wanted:
            source.skip(field.size)
            return ""
        targets = [name, f"{name}_high"] if len(field.code) == 2 and field.code.isalpha() else [name]
        source.fixed(field.code, targets, field.size, field.prepare.format(v=name))
        value = field.expression.format(v=name, w=targets[-1])
        return value if value == name else f"({value})"

    def _read_prefixed(self, place: int, field: Field) -> str:
        source, name = self._source, f"{self._prefix}{place}"
        if len(field.code) == 2:
            source.fixed(field.code, ["n", "n_high"], field.size, "n |= n_high << 16")
        else:
            source.fixed(field.code, ["n"], field.size)
        if place not in self._wanted:
            source.flush()
            source.line(f"p += n + {source.place}")
            source.place = 0
            return name
        source.settle()
        source.line("q = p + n")
        source.line(f"{name} = {field.expression.format(v='data[p:q]')}")
        source.line("p = q")
        return name


def _namespace() -> Namespace:
    return {
        "ABSENT": ABSENT,
        **FRACTION_NAMES,
        "DATES": DATES,
        "CLOCK_MINUTES": CLOCK_MINUTES,
        "EPOCH_DAYS": EPOCH_DAYS,
        "DAY_MINUTES": DAY_MINUTES,
        "SECONDS": SECONDS,
        "ZERO_INSTANT": ZERO_INSTANT,
        "from_bytes": int.from_bytes,
    }


def _compiled(source: _Source) -> Any:
    """Run the generated definition. It is made of numbers and names of ours: nothing of the log's text is in it."""
    exec("\n".join(source.lines), source.names)  # noqa: S102
    return source.names["decode"]


def _partial_places(json_places: Sequence[int], data: bytes, place: int, end: int) -> tuple[frozenset[int], int]:
    """Which columns of the new row are given by differences: one bit for every JSON column that the table has."""
    reader = WireReader(data, place, end)
    if not reader.length() & 1:
        return frozenset(), reader.place
    bits = reader.integer((len(json_places) + 7) // 8)
    return frozenset(n for bit, n in enumerate(json_places) if bits >> bit & 1), reader.place


def _json_after(old: Value, new: Value, *, is_partial: bool) -> Value:
    if not isinstance(new, bytes):
        return new
    if not is_partial:
        return json_text(new)
    if not isinstance(old, bytes):
        raise DecodeError(
            "the log has only the differences of a JSON document, and not the document before them",
            cause="the server or a session has binlog_row_value_options=PARTIAL_JSON without binlog_row_image=FULL",
            remedy="SET GLOBAL binlog_row_value_options = '' (and in that session), then run 'cdcd reposition' for this system",
            code="binlog-partial-json",
        )
    return apply_diffs(old, new)


def _wrong_end() -> DecodeError:
    return DecodeError("rows that do not end where their event ends", cause="the log is damaged or not understood")
