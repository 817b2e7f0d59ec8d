"""Writes as SQL literals: how they are cut into statements, and by which index their rows are found."""

import msgspec
import pytest

from cdcd.errors import Refused
from cdcd.model import TableWrite, WriteKind
from cdcd_mysql.captured import TableName
from cdcd_mysql.jobs import key_index, make_job, portions, segments, written_columns
from cdcd_mysql.schema import LiveColumn, LiveTable


def column(name):
    return LiveColumn(
        name=name,
        data_type="int",
        type="integer(-999999,999999)",
        nullable=True,
        charset=None,
        collation="",
        has_default=False,
        is_generated=False,
        is_automatic=False,
    )


TABLE = LiveTable(
    spelled="t",
    name=TableName("shop", "t"),
    engine="InnoDB",
    kind="BASE TABLE",
    columns=(column("a"), column("b"), column("c")),
    primary_key=("a",),
    unique_keys=(("a",), ("c", "b")),
    unique_key_names=("PRIMARY", "by_c"),
    has_partial_unique_key=False,
    has_insert_trigger=False,
)


def job(rows, columns=("a", "b"), key=("a",)):
    write = TableWrite("t", WriteKind.UPSERT, key, columns, rows)
    return make_job(0, write, TABLE, rows, range(10, 10 + len(rows)))


def test_a_row_alone_has_the_literals_that_it_has_among_others():
    alone, among = job([[1, None]]), job([[1, None], [2, 3]])
    assert (alone.literals[0], alone.texts[0], alone.places[0]) == (among.literals[0], among.texts[0], among.places[0])


@pytest.mark.parametrize("rows", [[[1, "x"]], [[1, 10**9]], [[None, 1]]])
def test_a_row_alone_that_does_not_fit_is_refused_with_its_place(rows):
    with pytest.raises(Refused) as refused:
        job(rows)
    assert refused.value.rows == ((0, 10),)


@pytest.mark.parametrize(
    ("rows_max", "size_max", "counts"),
    [
        (999, 9999, [10]),
        (9, 9999, [5, 5]),
        (4, 9999, [4, 4, 2]),
        (1, 9999, [1] * 10),
        (999, 13, [2] * 5),
        (9, 1, [1] * 10),
    ],
)
def test_statements_are_equally_large_and_hold_every_row_once(rows_max, size_max, counts):
    parts = list(portions(job([[n, 0] for n in range(10)]), rows_max, size_max))
    assert [len(part.rows) for part in parts] == counts
    assert [place for part in parts for place in part.places] == [*range(10, 20)]
    assert [text for part in parts for text in part.texts] == [f"{n},0" for n in range(10)]
    assert list(portions(job([]), 9, 9)) == []


def test_a_write_is_cut_where_a_key_comes_again():
    parts = list(segments(job([[1, 0], [2, 0], [1, 1], [3, 0], [1, 2]])))
    assert [part.texts for part in parts] == [["1,0", "2,0"], ["1,1", "3,0"], ["1,2"]]
    assert list(segments(job([]))) == []


def test_the_index_of_a_key_is_the_unique_one_over_all_of_it():
    assert key_index(job([[1, 2]])) == "PRIMARY"
    assert key_index(job([[1, 2]], ("b", "c"), ("b", "c"))) == "by_c"
    assert key_index(job([[1, 2]], ("b", "c"), ("b",))) == ""


def shaped(table=TABLE, **more):
    return written_columns(
        TableWrite("t", **{"kind": WriteKind.UPSERT, "key": ("a",), "columns": ("a", "b"), "rows": []} | more), table
    )


def test_what_writes_of_a_shape_have_in_common_is_found_once_for_each_description_of_the_table():
    assert shaped() is shaped(rows=[[1, 2]])
    assert shaped(table=msgspec.structs.replace(TABLE)) is not shaped()


@pytest.mark.parametrize(
    ("more", "names", "updatable"),
    [
        ({}, ("a", "b"), (1,)),
        ({"columns": ("a", "c", "b")}, ("a", "c", "b"), (1, 2)),
        ({"columns": ("a", "c", "b"), "insert_only": ("c",)}, ("a", "c", "b"), (2,)),
        ({"key": ("b",), "columns": ("b", "a")}, ("b", "a"), (1,)),
        ({"kind": WriteKind.REKEY, "columns": ("a",)}, ("a", "a"), ()),
    ],
)
def test_writes_of_another_shape_write_other_columns(more, names, updatable):
    found = shaped(**more)
    assert (found.names, found.updatable) == (names, updatable)


def test_differences_have_columns_of_their_own():
    (_, one), (_, other) = shaped(added=("b",)).columns, shaped().columns
    assert one.type != other.type


def test_a_generated_column_is_not_written():
    columns = (column("a"), msgspec.structs.replace(column("b"), is_generated=True), column("c"))
    found = shaped(table=msgspec.structs.replace(TABLE, columns=columns), columns=("a", "b", "c"))
    assert (found.names, found.places) == (("a", "c"), (0, 2))


@pytest.mark.parametrize(
    ("unique_keys", "more", "expected"),
    [
        ((("a",),), {}, True),
        ((("a",), ("c", "a")), {}, True),
        ((("a",), ("c", "b")), {}, False),
        ((("c", "b"),), {}, False),
        ((("a",),), {"has_partial_unique_key": True}, False),
        ((("a",),), {"has_insert_trigger": True}, False),
    ],
)
def test_a_row_is_in_the_way_by_the_key_alone(unique_keys, more, expected):
    table = msgspec.structs.replace(TABLE, unique_keys=unique_keys, **more)
    assert shaped(table=table).collides_on_key is expected
