"""What a configuration says of single columns and rows: how a value becomes a field's, which rows count, what new ones get.

See `cdcd.config` for the whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of all configuration structs: unknown keys are errors."""


class UnfitValue(Struct, frozen=True):
    """What stands in for a value that does not fit, as a value of the field."""

    value: str | int | bool
    """The value that stands in, as one of the field."""


Unfit = Literal["park", "null"] | UnfitValue


class Null(Struct, frozen=True):
    """NULL, for which TOML has no word: `{ null = true }`."""

    null: Literal[True]
    """The column holds NULL."""


Constant = str | int | bool


Match = str | int | bool | list[str | int | bool] | Null
"""What a column must hold: a constant, one of several, or nothing."""


class FromField(Struct, frozen=True):
    """The value of a field of the record."""

    field: str
    """The field whose value it is."""


class NewValue(Struct, frozen=True):
    """What a new row gets in a column that no field fills; exactly one of `commit_time`, `template` and `id_of`.

    `commit_time`: when the change was committed, as a datetime or date in that zone. `template`: text with fields in braces.
    `id_of`: the id of the row of that table that `where` describes, of several the first by `first_by`.
    """

    commit_time: str | None = None
    """When the change was committed, as the column's type in this time zone."""
    template: str | None = None
    """A text with fields in braces: `{sku:slug}`."""
    id_of: str | None = None
    """The id of a row of this table."""
    where: dict[str, str | int | bool | FromField] = {}
    """What the columns of that row hold."""
    id: str | None = None
    """The column of that table that is its id; by default its primary key."""
    first_by: list[str] = []
    """Of several rows the first in this order; `-` before a column turns it round."""


New = str | int | bool | NewValue


class Part(Struct, frozen=True):
    """A further table in which a binding's records have values.

    Its rows hang on the main row, or on that of the part `of`: `at` is that row's column that holds this one's id;
    `parent` is this table's column that holds that row's id. `where` says which rows count: a column, or "part.column" of a
    part that hangs on this one, and what it holds. Of several rows the first counts, in the order `first_by`.

    `write`: "row" changes, makes and deletes the row, "refer" chooses which row is referred to, "never" only reads. `null`:
    whether a row whose fields are all NULL is kept ("set") or deleted; deleted by default where it is one field and a `where`.
    """

    table: str
    """The table, as its system spells it."""
    at: str | None = None
    """The column of the row it hangs on that holds this row's id."""
    parent: str | None = None
    """This table's column that holds the id of the row it hangs on."""
    of: str | None = None
    """The part it hangs on; by default the main row."""
    where: dict[str, Match] = {}
    """Which of its rows count: what their columns hold."""
    first_by: list[str] = []
    """Of several rows the first in this order counts; `-` before a column turns it round."""
    id: str | None = None
    """The column others refer to; by default the primary key."""
    write: Literal["refer", "row", "never"] | None = None
    """`row`: its row is changed, made and deleted; `refer`: another row is chosen; `never`: it is only read."""
    null: Literal["set", "delete"] | None = None
    """Whether a row whose fields are all NULL is kept (`set`) or deleted."""
    new: dict[str, New] = {}
    """What a new row gets in columns that no field fills."""


class Round(Struct, frozen=True):
    """How many digits after the point a number keeps, and which way the rest goes."""

    digits: Annotated[int, msgspec.Meta(ge=0, le=30)]
    """Digits after the point."""
    mode: Literal["half-even", "half-up", "half-down", "up", "down", "ceiling", "floor"] = "half-even"
    """Which way the rest goes."""


class Split(Struct, frozen=True):
    """The field is what stands before or after the first or last `by` in the column."""

    by: Annotated[str, msgspec.Meta(min_length=1)]
    """What stands between the parts."""
    take: Literal["before-first", "after-first", "before-last", "after-last"]
    """Which part is the field."""


class Join(Struct, frozen=True):
    """The field is the text of several columns with `by` between; what is written is split `at` the first or last `by`.

    `missing` says what the columns hold for which the text has too few parts: NULL or the empty text.
    """

    columns: Annotated[list[str], msgspec.Meta(min_length=2)]
    """The columns whose texts are joined."""
    by: Annotated[str, msgspec.Meta(min_length=1)] = " "
    """What is put between them."""
    at: Literal["first", "last"] = "last"
    """Where a text with more parts is split when it is written."""
    missing: Literal["null", "empty"] = "null"
    """What columns hold for which the text has too few parts."""


class Transform(Struct, frozen=True, kw_only=True):
    """One step from a column's value to a field's, and back; exactly one of its kinds (docs/transforms.md).

    With `map` go `map_null` (the field's value for NULL), `default` (for column values that the map does not know), `write`
    (the way back, where it is not the map read backwards) and `write_default`; with `time_zone` goes `doubled_hour`.
    """

    map: dict[str, str | int | bool] | None = None
    """Value in the column = value of the field; reversible."""
    map_file: str | None = None
    """A CSV file of two columns that is such a map."""
    map_null: str | int | bool | None = None
    """The field's value where the column is NULL."""
    default: str | int | bool | None = None
    """The field's value for column values that the map does not know."""
    write: dict[str, str | int | bool] = {}
    """The way back, where it is not the map read backwards."""
    write_default: str | int | bool | None = None
    """The column's value for field values that `write` does not know."""
    nulls: list[str | int | bool] = []
    """Column values that mean NULL."""
    null_means: str | int | bool | None = None
    """The field's value where the column is NULL, and back."""
    scale: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """The column holds the field's value times this."""
    unit: str | None = None
    """The field is so many of the column's unit: `0.001` reads grams as kilograms."""
    round: Round | None = None
    """So many digits are kept after the point; what the column has beyond them is not seen."""
    decimal_mark: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    """The column is a text with this decimal mark."""
    time_zone: str | None = None
    """What zone a column without one means."""
    doubled_hour: Literal["refuse", "earlier", "later"] = "refuse"
    """Which of two instants it is in the hour that a clock shows twice."""
    format: str | None = None
    """How the column writes a date or a time as text: `%d.%m.%Y`."""
    trim: bool = False
    """Spaces at both ends are taken off."""
    case: Literal["lower", "upper"] | None = None
    """All letters become lower or upper case."""
    normalise: Literal["NFC", "NFKC"] | None = None
    """The Unicode normal form the field has."""
    truncate: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """Longer texts are cut to so many characters; lossy."""
    template: str | None = None
    """The column's text around the field, `SKU-{}`."""
    split: Split | None = None
    """The field is a part of the column's text."""
    member: str | None = None
    """The field is this member of the JSON object in the column; it is only read."""


class Column(Transform, frozen=True):
    """A column with a transform, or with several as `steps` in the order of reading, or with a policy.

    Instead of a `column`, a field may have the `first` of several that holds something, the `sum` of columns of all rows
    of parts without those of `minus`, or the `count` of a part's rows; such fields are read and never written.

    `unfit` says what happens to a value that does not fit the column, or that it has and the field cannot hold: the
    record is parked, or something stands in for the value. `reference` says what the column of a ref field holds: the
    other row's local id, or its business key.

    `join` has several columns, `constant` none: every record of this system has that value. `minor_units` names the
    field that holds the currency of an amount in its smallest unit (cents of EUR, yen of JPY).
    """

    column: str = ""
    """The column's name; `part.column` for one of a part."""
    first: list[str] = []
    """The first of these columns that is not NULL; only read."""
    sum: list[str] = []
    """The sum of these columns over all rows of their parts, kept exactly; only read."""
    minus: list[str] = []
    """Columns whose sum is taken off."""
    count: str | None = None
    """The number of rows of this part; only read."""
    reference: Literal["id", "key"] = "id"
    """Whether a `ref` field's column holds the other row's local id or its business key."""
    join: Join | None = None
    """The field is the text of several columns."""
    constant: str | int | bool | None = None
    """Every record of this system has this value; no column holds it."""
    minor_units: str | None = None
    """The field that holds the currency of an amount in its smallest unit."""
    steps: list[Transform] = []
    """Several transforms, in the order of reading."""
    unfit: Unfit = "park"
    """What becomes of a value that does not fit: `park`, `null`, or a value that stands in."""

    @property
    def is_read_only(self) -> bool:
        """Whether the field comes from something that is not written: several rows or columns, part of a JSON object."""
        computed = bool(self.first or self.sum) or self.count is not None
        return computed or any(step.member is not None for step in (self, *self.steps))
