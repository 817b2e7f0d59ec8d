"""Chunks that wait for their place while the stream goes on."""

from cdcd.model import Op, Relation, Rows
from cdcd_mysql.snapshot import TakenChunk

SHAPE = Relation("t", ("id", "v"), ("integer", "text"), (0,))
NAMELESS = Relation("t", (), (), ())


def taken():
    return TakenChunk(Rows(SHAPE, Op.READ, [[1, "a"], [2, "b"], [3, "c"]]), [3], (1, 100), done=True, is_exact=False)


def keys(chunk):
    return [row[0] for row in chunk.chunk().rows.rows]


def test_rows_that_the_stream_carried_are_left_out():
    chunk = taken()
    chunk.watch(SHAPE, Op.UPDATE, [[9, "x"]], [[2, "b"]])
    chunk.watch(Relation("t", ("v", "id"), ("text", "integer"), (1,)), Op.DELETE, [["c", 3]], None)
    chunk.watch(Relation("u", ("id",), ("integer",), (0,)), Op.DELETE, [[1]], None)
    assert keys(chunk) == [1]


def test_a_table_that_was_emptied_or_is_gone_leaves_nothing():
    for op in (Op.TRUNCATE, Op.TABLE_GONE):
        chunk = taken()
        chunk.watch(NAMELESS, op, [], None)
        assert keys(chunk) == []


def test_what_names_no_key_of_ours_changes_nothing():
    chunk = taken()
    chunk.watch(NAMELESS, Op.ROWS_LOST, [], None)
    chunk.watch(Relation("t", ("number", "v"), ("integer", "text"), (0,)), Op.DELETE, [[1, "a"]], None)
    assert keys(chunk) == [1, 2, 3]
