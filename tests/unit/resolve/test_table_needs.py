"""Which columns of a table are written, for a role that may write no others."""

from cdcd.adapter import TableNeed
from cdcd.resolve.table_needs import merged


def test_of_all_columns_and_some_all_are_needed():
    some = TableNeed("t", ("id",), ("id", "a"), written=True, inserted=("id", "a"), updated=("a",))
    assert merged(some, TableNeed("t", captured=False, written=True)).inserted == ()
    assert merged(some, TableNeed("t", captured=True, written=False)).inserted == ("id", "a")
    both = merged(some, TableNeed("t", (), ("b",), written=True, inserted=("b",), updated=("b",), deleted=False))
    assert (both.inserted, both.updated, both.deleted) == (("id", "a", "b"), ("a", "b"), True)


def test_a_table_that_is_only_read_does_not_make_deletes_needed():
    kept = TableNeed("t", written=True, inserted=("a",), updated=("a",), deleted=False)
    assert not merged(kept, TableNeed("t")).deleted
