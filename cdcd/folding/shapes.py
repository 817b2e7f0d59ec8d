"""Which writes a record becomes whose values lie in several tables, compiled once for each shape of items. Pure.

A row that is referred to is made before the one that refers to it, and a row that hangs on another after that one;
deletes go the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import structs

from cdcd.column_groups import ColumnGroup, column_groups, grouped_slots
from cdcd.config_columns import New
from cdcd.errors import Refused
from cdcd.folding.new_values import new_value
from cdcd.folding.parts import Cell, RowWriter, ShapeWriter
from cdcd.folding.paths import BindingPaths, Path, Source, Step, ValueOf, lookup_of, value_of
from cdcd.model import Where, WriteKind
from cdcd.outbox import RecordWrite
from cdcd.resolve.masks import slots_of
from cdcd.resolve.plan import MAIN, ColumnPlan, PartPlan, place_of
from cdcd.values import ValueType, parse_type

_KINDS: Final = {
    RecordWrite.FULL: WriteKind.UPSERT,
    RecordWrite.UPDATE: WriteKind.UPDATE,
    RecordWrite.DELETE: WriteKind.DELETE,
}


class PartsCompiler:
    """Compiles the shapes of a binding's items. Raises Refused where a table does not fit, or a field is not told."""

    def __init__(self, paths: BindingPaths) -> None:
        self._paths = paths
        self._binding = paths.binding
        self._columns = [c for c in self._binding.columns if self._binding.written_mask >> c.slot & 1]
        self._groups = self._column_groups()

    def _column_groups(self) -> list[ColumnGroup]:
        """The columns that several fields fill, or that one field fills together."""
        paths = self._paths

        def type_of(column: str) -> ValueType:
            part, name = place_of(column)
            return parse_type(paths.column(paths.table_of(part), name).type)

        try:
            return column_groups(self._binding, paths.field_types(), type_of)
        except ValueError as error:
            remedy = "change a field's type or bind it otherwise"
            raise paths.unfit(self._binding.table, "target-type-mismatch", str(error), remedy) from error

    def check(self) -> None:
        """Compile what can happen, as if every field were told."""
        entity = self._paths.entity
        told = tuple(column.slot for column in self._columns if column.slot not in self._paths.key_at)
        if entity.parent is not None or entity.create - {self._binding.system}:
            every = tuple(slot for slot in entity.live_slots if slot not in self._paths.key_at)
            self._shape(RecordWrite.FULL, every, ())
        self._shape(RecordWrite.UPDATE, told, ())
        self._shape(RecordWrite.DELETE, (), ())

    def compiled(self, kind: int, mask: int, initial: int) -> ShapeWriter:
        """The writers of items of a shape."""
        return self._shape(RecordWrite(kind), slots_of(mask), slots_of(initial))

    def _shape(self, kind: RecordWrite, told: tuple[int, ...], new: tuple[int, ...]) -> ShapeWriter:
        if kind not in _KINDS:
            remedy = "let one system own them"
            raise self._paths.unfit(self._binding.table, "target-sum-in-parts", "its fields cannot be added to", remedy)
        archived = self._binding.instead_of_delete if kind == RecordWrite.DELETE else None
        if archived is not None:
            told = tuple(archived)
        width = self._paths.entity.key_width
        at = {slot: width + number for number, slot in enumerate((*told, *new))} | self._paths.key_at
        write_kind = WriteKind.UPDATE if archived is not None else _KINDS[kind]
        compiling = _Shape(self._paths, self._columns, self._groups, write_kind, at, frozenset(told))
        named = list(compiling.deletes() if write_kind is WriteKind.DELETE else compiling.changes(MAIN))
        main = next(number for number, (name, _) in enumerate(named) if name == MAIN)
        constants = None if archived is None else tuple(archived.values())
        return ShapeWriter(width, tuple(w for _, w in named), main, constants, tuple(compiling.checks()))


class _Shape:
    """Compiles one shape. `at` says where in a source the fields are; those in `told` are for rows that exist, too."""

    def __init__(
        self,
        paths: BindingPaths,
        columns: list[ColumnPlan],
        groups: list[ColumnGroup],
        kind: WriteKind,
        at: Mapping[int, int],
        told: frozenset[int],
    ) -> None:
        self._paths = paths
        self._binding = paths.binding
        self._grouped = grouped_slots(paths.binding)
        self._groups = [g for g in groups if any(slot in at and slot in self._grouped for slot in g.slots)]
        self._kind = kind
        self._at = at
        self._told = told
        self._columns = {MAIN: self._bound(columns, MAIN)}
        self._columns |= {part.name: self._bound(columns, part.name) for part in self._binding.parts}

    def _bound(self, columns: list[ColumnPlan], name: str) -> list[ColumnPlan]:
        """The columns of a part that are told, but for those of the key."""
        return [c for c in columns if c.place[0] == name and c.slot in self._at and c.slot not in self._paths.key_at]

    # ---- which rows ------------------------------------------------------------------------------------------

    def changes(self, name: str) -> Iterator[tuple[str, RowWriter]]:
        """The writers of a row and of all that hang on it, in the order of writing."""
        hanging = self._binding.hanging(name)
        for part in hanging:
            if part.at is not None and part.write == "row":
                yield from self.changes(part.name)
        if name == MAIN:
            yield name, self._main()
            if self._binding.xref and self._kind is WriteKind.UPSERT:
                yield "xref", self._xref_entry()
        elif self._is_concerned(name):
            yield from self._part(self._binding.part(name))
        for part in hanging:
            if part.parent is not None and part.write == "row":
                yield from self.changes(part.name)

    def _is_concerned(self, name: str) -> bool:
        """Whether something of the row is told; a new row that is referred to is needed in any case."""
        part = self._binding.part(name)
        if part.at is not None and self._kind is WriteKind.UPSERT:
            return True
        is_key = self._kind is WriteKind.UPSERT and bool(self._paths.key_columns(name))
        referring = [p for p in self._binding.hanging(name) if p.at is not None and p.write == "refer"]
        return is_key or bool(self._columns[name]) or any(self._refers(p) for p in referring)

    def _refers(self, part: PartPlan) -> bool:
        return bool(self._columns[part.name]) or any(
            self._refers(p) for p in self._binding.hanging(part.name) if p.at is not None
        )

    def deletes(self) -> Iterator[tuple[str, RowWriter]]:
        """The writers that delete a record: its own parts' rows, its main row, its entry in `cdcd_xref`."""
        yield from self._part_deletes(MAIN)
        yield MAIN, self._main()
        if self._binding.xref:
            yield "xref", self._xref_entry()

    def _part_deletes(self, name: str) -> Iterator[tuple[str, RowWriter]]:
        """Of rows that are referred to nobody knows who else refers to them: they stay, and what hangs on them."""
        for part in reversed(self._binding.hanging(name)):
            if part.parent is not None and part.write == "row":
                yield from self._part_deletes(part.name)
                yield part.name, self._part_delete(part)

    # ---- the main row ----------------------------------------------------------------------------------------

    def _main(self) -> RowWriter:
        binding, paths = self._binding, self._paths
        keys, where = () if binding.xref else paths.keys(MAIN), paths.conditions(MAIN)
        names = [column for column, _ in keys]
        if keys and not paths.is_found_through(MAIN) and self._is_unique(binding.table, names, where):
            key = [self._cell(column, step) for column, step in keys]
            cells = key if self._kind is WriteKind.DELETE else self._cells(MAIN, key)
            return RowWriter(binding.table, self._kind, tuple(c.column for c in key), tuple(cells), where)
        return self._numbered(MAIN, paths.main(), self._kind, locked=binding.parent_column or "")

    def _xref_entry(self) -> RowWriter:
        paths, name = self._paths, self._paths.entity.name
        cells = [Cell("entity", lambda _source: name), self._cell("key", paths.xref_key())]
        if self._kind is not WriteKind.DELETE:
            cells.append(self._cell("id", paths.main()))
        return RowWriter(self._binding.xref_table, self._kind, ("entity", "key"), tuple(cells))

    def _is_unique(self, table: str, columns: Iterable[str], where: tuple[Where, ...]) -> bool:
        """Whether the server sees to it that these columns, with what rows must hold, name one row."""
        fixed = {w.column for w in where if len(w.values) == 1 and w.values[0] is not None}
        return any(set(key) <= {*columns, *fixed} for key in self._paths.shape(table).unique_keys)

    def _numbered(self, name: str, path: Path, kind: WriteKind, locked: str = "") -> RowWriter:
        """A row that is found by its id, and gets one where it is new."""
        paths = self._paths
        table, row_id = paths.table_of(name), paths.id_of(name)
        if kind is WriteKind.UPSERT and not paths.column(table, row_id).has_default:
            remedy = "let the server number it, or give the table a unique key of the columns that find its rows"
            raise paths.unfit(table, "target-id-given", f"a new row gets no {row_id} from the server", remedy)
        key = [self._cell(row_id, path)]
        cells = key if kind is WriteKind.DELETE else self._cells(name, key, kind)
        return RowWriter(table, kind, (row_id,), tuple(cells), numbers_new=True, locked=locked)

    # ---- parts -----------------------------------------------------------------------------------------------

    def _part(self, part: PartPlan) -> Iterator[tuple[str, RowWriter]]:
        if part.at is not None:
            yield part.name, self._numbered(part.name, self._paths.row(part.name), self._kind)
            return
        written = self._part_written(part)
        if not self._paths.null_deletes(part):
            yield part.name, written
            return
        holds = self._holds_something(part.name)
        yield part.name, structs.replace(written, applies=holds)
        if all(bound.slot in self._told for bound in self._columns[part.name]):
            yield part.name, structs.replace(self._part_delete(part), applies=lambda source: not holds(source))

    def _part_written(self, part: PartPlan) -> RowWriter:
        """A new row may need more than a change tells: then rows that are there are changed, others are told whole later."""
        try:
            return self._part_row(part, WriteKind.UPSERT)
        except Refused as refused:
            if self._kind is not WriteKind.UPDATE or refused.code != "target-field-untold":
                raise
            return self._part_row(part, WriteKind.UPDATE)

    def _part_row(self, part: PartPlan, kind: WriteKind) -> RowWriter:
        paths, where = self._paths, self._paths.conditions(part.name)
        assert part.parent is not None
        keys: list[tuple[str, Step]] = [(part.parent, paths.row(part.of)), *paths.keys(part.name)]
        if self._is_unique(part.table, [column for column, _ in keys], where):
            key = [self._cell(column, step) for column, step in keys]
            key += [_constant(w) for w in where if len(w.values) == 1 and w.values[0] is not None]
            cells = self._cells(part.name, key, kind)
            return RowWriter(part.table, kind, tuple(c.column for c in key), tuple(cells), where)
        return self._numbered(part.name, paths.row(part.name), kind, locked=part.parent)

    def _part_delete(self, part: PartPlan) -> RowWriter:
        assert part.parent is not None
        key = self._cell(part.parent, self._paths.row(part.of))
        where = self._paths.conditions(part.name)
        return RowWriter(part.table, WriteKind.DELETE, (part.parent,), (key,), where)

    def _holds_something(self, name: str) -> ValueOf:
        values = [cell.value for cell in self._fields(name)]
        return lambda source: any(value(source) is not None for value in values)

    # ---- cells -----------------------------------------------------------------------------------------------

    def _cells(self, name: str, key: list[Cell], kind: WriteKind | None = None) -> list[Cell]:
        """All columns of a row that is changed: the key, what is told, and for new rows what they must hold besides."""
        kind = self._kind if kind is None else kind
        cells = {cell.column: cell for cell in key}
        found = list(self._fields(name))
        found += self._referring(name, kind)
        if kind is WriteKind.UPSERT:
            found += self._of_new(name)
        for cell in found:
            if kind is WriteKind.UPSERT or not cell.only_new:
                cells.setdefault(cell.column, cell)
        return list(cells.values())

    def checks(self) -> Iterator[ValueOf]:
        """What is only looked at: fields that have one value in all records of the system."""
        yield from (self._filled(group) for group in self._groups if not group.columns)

    def _fields(self, name: str) -> Iterator[Cell]:
        """The columns of a part that are told: each of a field of its own, or of fields that fill it together."""
        yield from (self._field(column) for column in self._columns[name] if column.slot not in self._grouped)
        for group in self._groups:
            if group.columns and place_of(group.columns[0])[0] == name:
                fill, only_new = self._filled(group), self._told.isdisjoint(group.slots)
                for number, column in enumerate(group.columns):
                    yield Cell(place_of(column)[1], _numbered_value(fill, number), None, only_new)

    def _filled(self, group: ColumnGroup) -> Callable[[Source], list[Any]]:
        """What the columns of a group hold; all of its fields must be told."""
        for slot in group.slots:
            if slot not in self._at:
                paths, field = self._paths, self._paths.entity.fields[slot].name
                remedy = "it is written once all of the record is told"
                raise paths.unfit(self._binding.table, "target-field-untold", f"field {field!r} says how, too", remedy)
        places = [self._at[slot] for slot in group.slots]
        return lambda source: group.fill([source[place] for place in places])

    def _field(self, bound: ColumnPlan) -> Cell:
        name, column = bound.place
        step = self._paths.field_in(self._paths.table_of(name), column, bound.slot, self._at[bound.slot], bound)
        return self._cell(column, step, only_new=bound.slot not in self._told)

    def _cell(self, column: str, step: Step, *, only_new: bool = False) -> Cell:
        return Cell(column, value_of(step), lookup_of(column, step), only_new)

    def _referring(self, name: str, kind: WriteKind) -> Iterator[Cell]:
        """The columns that refer to rows of parts."""
        for part in self._binding.hanging(name):
            if part.at is None:
                continue
            if part.write == "row" and kind is WriteKind.UPSERT:
                yield self._cell(part.at, self._paths.row(part.name))
            elif part.write == "refer" and self._refers(part):
                yield self._cell(part.at, self._chosen(part), only_new=not self._is_told(part))

    def _is_told(self, part: PartPlan) -> bool:
        hanging = [p for p in self._binding.hanging(part.name) if p.at is not None]
        return any(c.slot in self._told for c in self._columns[part.name]) or any(map(self._is_told, hanging))

    def _chosen(self, part: PartPlan) -> Path:
        """The row that the fields bound to a part choose."""
        paths = self._paths
        keys: list[tuple[str, Step]] = []
        for bound in self._binding.columns:
            if bound.place[0] != part.name or not self._binding.written_mask >> bound.slot & 1:
                continue
            column = bound.place[1]
            if bound.slot not in self._at:
                field = paths.entity.fields[bound.slot].name
                remedy = "it is written once all of the record is told"
                raise paths.unfit(part.table, "target-field-untold", f"field {field!r} also says which row", remedy)
            keys.append((column, paths.field_in(part.table, column, bound.slot, self._at[bound.slot], bound)))
        keys += (
            (hanging.at, self._chosen(hanging))
            for hanging in self._binding.hanging(part.name)
            if hanging.at is not None and (self._refers(hanging) or paths.is_constant(hanging))
        )
        return Path(part.table, paths.id_of(part.name), tuple(keys), paths.conditions(part.name))

    def _of_new(self, name: str) -> Iterator[Cell]:
        """What only new rows get: the columns they are found by, what they must hold, and what is said of new ones."""
        paths, binding = self._paths, self._binding
        table, new = paths.table_of(name), binding.new if name == MAIN else binding.part(name).new
        if name != MAIN and (parent := binding.part(name).parent) is not None:
            yield self._cell(parent, paths.row(binding.part(name).of), only_new=True)
        if name != MAIN or not binding.xref:
            own_id = paths.id_of(name) if paths.is_found_through(name) else None
            yield from (
                self._cell(column, step, only_new=True) for column, step in paths.keys(name) if column != own_id
            )
        for where in paths.conditions(name):
            yield _constant(where, only_new=True)
        yield from (self._new(table, column, value) for column, value in new.items())

    def _new(self, table: str, column: str, value: New) -> Cell:
        of_source, lookup = new_value(self._paths, table, column, value, self._at)
        return Cell(column, of_source, lookup, only_new=True)


def _numbered_value(fill: Callable[[Source], list[Any]], number: int) -> ValueOf:
    return lambda source: fill(source)[number]


def _constant(where: Where, *, only_new: bool = False) -> Cell:
    """What a row must hold; of several things the first."""
    value = where.values[0]

    def constant(_source: Source) -> object:
        return value

    return Cell(where.column, constant, None, only_new)
