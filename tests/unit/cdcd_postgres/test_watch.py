"""What a look at the catalog says, compared with the last one."""

import msgspec
import pytest

from cdcd_postgres.names import TableName
from cdcd_postgres.publication import Publication
from cdcd_postgres.watch import (
    Part,
    Remembered,
    Seen,
    read_memory,
    remember,
    rows_came_or_went,
    trouble,
    was_rewritten,
)

SALE = TableName("public", "sale")
PARTS = (
    Part(11, "public.sale_1", 11, "r", "p", "d", attached=False),
    Part(12, "public.sale_2", 12, "r", "p", "d", attached=True),
)
SEEN = Seen("public", "sale", 10, "p", "d", has_primary_key=True, parts=PARTS)
BEFORE = SEEN.remembered
GOOD = Publication("p", "me", True, False, True, False, frozenset({SALE}))


def changed(**changes) -> Seen:
    return msgspec.structs.replace(SEEN, **changes)


def part(number: int, **changes) -> Seen:
    parts = list(PARTS)
    parts[number] = msgspec.structs.replace(parts[number], **changes)
    return changed(parts=tuple(parts))


def test_rows_come_and_go_with_tables_and_partitions():
    assert not rows_came_or_went(BEFORE, SEEN)
    assert rows_came_or_went(BEFORE, changed(oid=20))
    assert rows_came_or_went(BEFORE, changed(parts=PARTS[:1]))
    assert rows_came_or_went(Remembered(10, {11: 11}), SEEN)
    assert not rows_came_or_went(Remembered(10, {12: 12}), SEEN)


def test_other_storage_of_a_known_partition_is_a_rewrite():
    assert not was_rewritten(BEFORE, SEEN)
    assert was_rewritten(BEFORE, part(0, file=99))
    assert not was_rewritten(Remembered(10, {11: 11}), SEEN)


def test_memory_is_kept_as_a_comment_and_read_back():
    memory = {"public.sale": SEEN.remembered}
    sql = remember("p", memory)
    assert sql.startswith('COMMENT ON PUBLICATION "p" IS \'cdcd: ')
    assert read_memory(sql.split("'")[1]) == memory == {"public.sale": BEFORE}


@pytest.mark.parametrize("comment", [None, "", "of the finance department", "cdcd: {", 'cdcd: {"a": 1}'])
def test_another_comment_is_no_memory(comment):
    assert read_memory(comment) is None


@pytest.mark.parametrize(
    ("seen", "publication", "code"),
    [
        (changed(persistence="u"), GOOD, "not-logged"),
        (part(1, persistence="u"), GOOD, "not-logged"),
        (part(1, kind="f"), GOOD, "not-logged"),
        (changed(replica_identity="n"), GOOD, "replica-identity"),
        (changed(has_primary_key=False), GOOD, "replica-identity"),
        (SEEN, None, "publication"),
        (SEEN, msgspec.structs.replace(GOOD, complete=False), "publication"),
        (SEEN, msgspec.structs.replace(GOOD, filtered=True), "publication"),
        (SEEN, msgspec.structs.replace(GOOD, tables=frozenset()), "publication"),
    ],
)
def test_what_keeps_changes_from_the_log_is_trouble(seen, publication, code):
    found = trouble("erp", [SALE], {SALE: seen}, publication)
    assert found is not None
    assert (found.code, bool(found.remedy)) == (code, True)


def test_a_table_that_is_published_and_logged_or_gone_is_no_trouble():
    assert trouble("erp", [SALE], {SALE: SEEN}, GOOD) is None
    assert trouble("erp", [SALE], {}, msgspec.structs.replace(GOOD, tables=frozenset())) is None
    assert trouble("erp", [SALE], {SALE: changed(replica_identity="f", has_primary_key=False)}, GOOD) is None
