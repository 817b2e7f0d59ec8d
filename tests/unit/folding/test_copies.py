"""Plain copies: a row is written once, as it was last, in the target's types, with what the log left out filled in."""

from __future__ import annotations

import random

import msgspec
import pytest

from cdcd.errors import NeedsOperator, Refused
from cdcd.folding.copies import CopyFolder
from cdcd.folding.folded import Folded, KeptRow
from cdcd.model import ABSENT, ColumnShape, Op, Relation, TableShape, WriteKind
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import Route
from cdcd.values import ValueRefused

ROUTE = Route(0, "erp", "shop", "item", "items")
REL = Relation("item", ("id", "code", "text"), ("integer", "text", "text"), (0,))
SHAPE = TableShape(
    "items",
    (ColumnShape("id", "integer"), ColumnShape("code", "text"), ColumnShape("text", "text")),
    ("id",),
    (("id",),),
)


def shape(*columns, key=("id",)):
    return TableShape("items", tuple(ColumnShape(*column) for column in columns), key, (key,))


def folder(target=SHAPE):
    return CopyFolder(ROUTE, target)


def add(copy, op, *rows, relation=REL, olds=None):
    partial = any(value is ABSENT for row in [*rows, *(olds or [])] for value in row or ())
    copy.add(op, relation, [list(row) for row in rows], olds, partial=partial)


def take(copy, parked=None):
    folded = Folded()
    copy.take(folded, parked)
    assert folded.deletes == []
    return folded


def groups(folded):
    return list(folded.ordered(deletes_first=False).between(0))


def written(folded):
    return [(g.write.kind.name, g.write.columns, g.write.rows) for g in groups(folded)]


def test_rows_become_upserts_with_the_targets_key_first():
    copy = folder(shape(("id", "integer"), ("code", "text"), ("text", "text"), key=("code",)))
    add(copy, Op.INSERT, [1, "A", "x"], [2, "B", "y"])
    assert written(take(copy)) == [("UPSERT", ("code", "id", "text"), [["A", 1, "x"], ["B", 2, "y"]])]


def test_rows_that_lie_as_the_target_wants_them_are_not_copied_again():
    copy, row = folder(), [1, "A", "x"]
    copy.add(Op.INSERT, REL, [row], None, partial=False)
    assert take(copy).changes[0].write.rows[0] is row


def test_a_row_is_written_once_as_it_was_last():
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "x"], [2, "B", "y"])
    add(copy, Op.UPDATE, [1, "A", "z"], olds=[None])
    add(copy, Op.READ, [2, "B", "w"])
    assert written(take(copy)) == [("UPSERT", ("id", "code", "text"), [[1, "A", "z"], [2, "B", "w"]])]
    assert written(take(copy)) == []


def test_deletes_go_before_the_rest_so_that_unique_values_can_move():
    copy = folder()
    add(copy, Op.INSERT, [2, "A", "x"])
    add(copy, Op.DELETE, [1, "A", ABSENT])
    assert written(take(copy)) == [("DELETE", ("id",), [[1]]), ("UPSERT", ("id", "code", "text"), [[2, "A", "x"]])]


def test_a_row_that_was_deleted_and_came_back_is_only_written():
    copy = folder()
    add(copy, Op.DELETE, [1, ABSENT, ABSENT])
    add(copy, Op.INSERT, [1, "A", "x"])
    assert [kind for kind, _, _ in written(take(copy))] == ["UPSERT"]


def test_a_key_that_changes_deletes_the_old_row_and_writes_the_new_one():
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "x"])
    add(copy, Op.UPDATE, [5, "A", "y"], olds=[[1, ABSENT, ABSENT]])
    assert written(take(copy)) == [("DELETE", ("id",), [[1]]), ("UPSERT", ("id", "code", "text"), [[5, "A", "y"]])]


def test_a_key_that_changes_takes_along_what_the_log_left_out():
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "long text"])
    add(copy, Op.UPDATE, [5, "B", ABSENT], olds=[[1, ABSENT, ABSENT]])
    assert written(take(copy))[1] == ("UPSERT", ("id", "code", "text"), [[5, "B", "long text"]])


def test_a_value_that_the_log_left_out_is_taken_from_an_earlier_version_in_the_batch():
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "long text"])
    add(copy, Op.UPDATE, [1, "B", ABSENT], olds=[None])
    assert written(take(copy)) == [("UPSERT", ("id", "code", "text"), [[1, "B", "long text"]])]


def test_without_an_earlier_version_the_row_is_updated_in_its_other_columns():
    copy = folder()
    add(copy, Op.UPDATE, [1, "B", ABSENT], [2, "C", "whole"], olds=[None, None])
    assert written(take(copy)) == [
        ("UPDATE", ("id", "code"), [[1, "B"]]),
        ("UPSERT", ("id", "code", "text"), [[2, "C", "whole"]]),
    ]


def test_an_earlier_version_of_another_shape_fills_in_by_name():
    copy = folder(shape(("id", "integer"), ("code", "text"), ("text", "text"), ("extra", "integer")))
    wider = Relation("item", ("extra", "id", "text", "code"), ("integer", "integer", "text", "text"), (1,))
    add(copy, Op.INSERT, [1, "A", "long text"])
    add(copy, Op.UPDATE, [7, 1, ABSENT, "B"], relation=wider, olds=[None])
    ((kind, columns, rows),) = written(take(copy))
    assert kind == "UPSERT"
    assert dict(zip(columns, rows[0], strict=True)) == {"id": 1, "extra": 7, "text": "long text", "code": "B"}


def test_generated_columns_of_the_target_are_not_written():
    target = TableShape("items", (*SHAPE.columns[:2], ColumnShape("text", "text", generated=True)), ("id",), (("id",),))
    copy = folder(target)
    add(copy, Op.INSERT, [1, "A", "x"])
    assert written(take(copy)) == [("UPSERT", ("id", "code"), [[1, "A"]])]


def test_keys_of_several_columns():
    copy = folder(shape(("id", "integer"), ("code", "text"), ("text", "text"), key=("code", "id")))
    add(copy, Op.INSERT, [1, "A", "x"], [1, "B", "y"])
    add(copy, Op.DELETE, [1, "B", "y"])
    folded = take(copy)
    assert written(folded) == [
        ("DELETE", ("code", "id"), [["B", 1]]),
        ("UPSERT", ("code", "id", "text"), [["A", 1, "x"]]),
    ]
    assert [list(group.subjects) for group in groups(folded)] == [
        [(-1, encode_key(["B", 1]))],
        [(-1, encode_key(["A", 1]))],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_leaves_the_table_that_row_by_row_would_leave(seed):
    """Random inserts, updates with values left out, key changes and deletes, against a plain dict of rows."""
    chance = random.Random(seed)
    source: dict[int, list] = {}
    target: dict[int, dict] = {}
    for _ in range(8):
        copy = folder()
        for _ in range(chance.randrange(1, 12)):
            step(copy, source, chance)
        for group in groups(take(copy)):
            for row in group.write.rows:
                if group.write.kind is WriteKind.REKEY:
                    target[row[1]] = target.pop(row[0]) | {"id": row[1]}
                    continue
                values = dict(zip(group.write.columns, row, strict=True))
                if group.write.kind is WriteKind.DELETE:
                    target.pop(values["id"], None)
                elif group.write.kind is WriteKind.UPSERT or values["id"] in target:
                    target[values["id"]] = target.get(values["id"], {}) | values
        assert target == {key: dict(zip(REL.columns, row, strict=True)) for key, row in source.items()}


def step(copy, source, chance):
    unused = next(n for n in range(1000) if n not in source)
    if not source or chance.random() < 0.3:
        source[unused] = [unused, chance.choice("ABC"), chance.choice("xyz")]
        add(copy, Op.INSERT, source[unused])
        return
    key = chance.choice(sorted(source))
    row = source.pop(key)
    if chance.random() < 0.25:
        add(copy, Op.DELETE, [key, ABSENT, ABSENT])
        return
    moved = chance.random() < 0.3
    new = [unused if moved else key, chance.choice("ABC"), row[2]]
    source[new[0]] = new
    add(copy, Op.UPDATE, [*new[:2], chance.choice([ABSENT, new[2]])], olds=[[key, ABSENT, ABSENT] if moved else None])


# ---- types ----------------------------------------------------------------------------------------------------


def test_values_are_converted_to_the_targets_types_or_their_rows_refused():
    relation = Relation("item", ("id", "price", "on"), ("integer", "decimal", "boolean"), (0,))
    copy = folder(shape(("id", "integer"), ("price", "decimal(6,2)"), ("on", "integer(0,1)")))
    add(copy, Op.INSERT, [1, "1.5", True], [2, "1.505", False], [3, None, None], relation=relation)
    folded = take(copy)
    assert written(folded) == [("UPSERT", ("id", "price", "on"), [[1, "1.50", 1], [3, None, None]])]
    assert [u.subject for u in folded.unwritable] == [(-1, encode_key([2]))]
    assert [list(group.subjects) for group in groups(folded)] == [[(-1, encode_key([1])), (-1, encode_key([3]))]]


def test_a_refused_row_is_kept_as_its_source_said_and_can_be_tried_with_a_wider_column():
    relation = Relation("item", ("id", "price"), ("integer", "decimal"), (0,))
    copy = folder(shape(("id", "integer"), ("price", "decimal(6,2)")))
    add(copy, Op.INSERT, [2, "1.505"], relation=relation)
    (refused,) = take(copy).unwritable
    with pytest.raises(ValueRefused):
        copy.retried(refused.subject, refused.kept)
    wider = folder(shape(("id", "integer"), ("price", "decimal(9,4)")))
    (group,) = wider.retried(refused.subject, refused.kept)
    assert (group.write.kind, group.write.columns, group.write.rows) == (
        WriteKind.UPSERT,
        ("id", "price"),
        [[2, "1.5050"]],
    )
    assert group.kept(0) == refused.kept
    narrower = folder(shape(("id", "integer"), ("name", "text")))
    with pytest.raises(Refused, match=r"no column price \(decimal\)"):
        narrower.retried(refused.subject, refused.kept)


def test_json_of_a_plain_copy_is_not_rewritten():
    relation = Relation("item", ("id", "doc"), ("integer", "json"), (0,))
    copy = folder(shape(("id", "integer"), ("doc", "json")))
    add(copy, Op.INSERT, [1, '{"b": 1, "a": 2}'], relation=relation)
    assert written(take(copy))[0][2] == [[1, '{"b": 1, "a": 2}']]


def test_a_deleted_rows_key_is_converted_too():
    relation = Relation("item", ("id", "t"), ("text(5)", "text"), (0,))
    copy = folder(shape(("id", "integer"), ("t", "text")))
    add(copy, Op.DELETE, ["17", ABSENT], ["x", ABSENT], relation=relation)
    folded = take(copy)
    assert written(folded) == [("DELETE", ("id",), [[17]])]
    assert [u.subject for u in folded.unwritable] == [(-1, encode_key(["x"]))]


def misfits(folded):
    """Subject's key, code and kept row of what does not fit."""
    return [(u.subject[1], u.refused.code, kept_row(u.kept)) for u in folded.unwritable]


def kept_row(kept):
    row = msgspec.msgpack.decode(kept, type=KeptRow)
    return WriteKind(row.kind).name, dict(zip(row.columns, row.values, strict=True))


def test_types_without_an_exact_conversion_park_the_rows_and_name_column_and_types():
    relation = Relation("item", ("id", "at"), ("integer", "instant(6)"), (0,))
    copy = folder(shape(("id", "integer"), ("at", "datetime(6)")))
    add(copy, Op.INSERT, [1, "2026-11-21 10:00:00Z"], relation=relation)
    add(copy, Op.DELETE, [2, ABSENT], relation=relation)
    folded = take(copy)
    assert written(folded) == []
    assert misfits(folded) == [
        (encode_key([1]), "target-type-mismatch", ("UPSERT", {"id": 1, "at": "2026-11-21 10:00:00Z"})),
        (encode_key([2]), "target-type-mismatch", ("DELETE", {"id": 2})),
    ]
    refused = folded.unwritable[0].refused
    assert refused.what == "rows of item do not fit items in 'shop'"
    assert "column at: a instant(6) does not convert to a datetime(6)" in refused.cause
    assert "give the column a type that holds the source's values" in refused.remedy


def test_a_column_that_the_target_lacks_parks_the_rows_until_it_is_there_or_left_out():
    narrow = shape(("id", "integer"), ("code", "text"))
    copy = folder(narrow)
    add(copy, Op.INSERT, [1, "A", "x"])
    folded = take(copy)
    assert misfits(folded) == [
        (encode_key([1]), "target-column-missing", ("UPSERT", {"id": 1, "code": "A", "text": "x"}))
    ]
    (parked,) = folded.unwritable
    assert "it has no column text (text)" in parked.refused.cause
    assert "leave-out" in parked.refused.cause
    assert [g.write.rows for g in folder().retried(parked.subject, parked.kept)] == [[[1, "A", "x"]]]
    without = CopyFolder(msgspec.structs.replace(ROUTE, leave_out=frozenset({"text"})), narrow)
    assert [g.write.rows for g in without.retried(parked.subject, parked.kept)] == [[[1, "A"]]]
    add(without, Op.INSERT, [2, "B", "y"])
    assert written(take(without)) == [("UPSERT", ("id", "code"), [[2, "B"]])]


def test_rows_for_a_table_that_is_not_there_are_parked():
    copy = folder(None)
    add(copy, Op.INSERT, [1, "A", "x"])
    assert [(code, row) for _, code, row in misfits(take(copy))] == [
        ("target-table-missing", ("UPSERT", {"id": 1, "code": "A", "text": "x"}))
    ]


def test_rows_of_a_shape_that_fits_flow_beside_those_that_do_not():
    wider = Relation("item", ("id", "code", "text", "new"), ("integer", "text", "text", "integer"), (0,))
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "x"])
    add(copy, Op.INSERT, [2, "B", "y", 5], relation=wider)
    folded = take(copy)
    assert written(folded) == [("UPSERT", ("id", "code", "text"), [[1, "A", "x"]])]
    assert [key for key, _, _ in misfits(folded)] == [encode_key([2])]


def test_a_parked_row_that_does_not_fit_grows_by_what_later_changes_carry(parked):
    wider = Relation("item", ("id", "code", "text", "new"), ("integer", "text", "text", "integer"), (0,))
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "long text", 5], relation=wider)
    (first,) = take(copy).unwritable
    parked.park([(first.subject, first.kept)], 1, "target-column-missing", "why")
    add(copy, Op.UPDATE, [1, "B", ABSENT, ABSENT], relation=wider, olds=[None])
    ((_, _, row),) = misfits(take(copy, parked))
    assert row == ("UPSERT", {"id": 1, "code": "B", "text": "long text", "new": 5})


# ---- emptied tables and changed keys --------------------------------------------------------------------------


def test_a_truncate_clears_the_table_and_drops_what_came_before():
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "x"])
    add(copy, Op.DELETE, [2, "A", "x"])
    add(copy, Op.UPDATE, [8, "A", ABSENT], olds=[[7, ABSENT, ABSENT]])
    copy.clear()
    add(copy, Op.INSERT, [3, "B", "y"])
    folded = take(copy)
    assert written(folded) == [("CLEAR", (), []), ("UPSERT", ("id", "code", "text"), [[3, "B", "y"]])]
    assert folded.cleared == [-1]
    add(copy, Op.INSERT, [4, "C", "z"])
    assert [kind for kind, _, _ in written(take(copy))] == ["UPSERT"]


def test_a_changed_key_with_values_left_out_gives_the_row_its_new_key_first():
    copy = folder()
    add(copy, Op.UPDATE, [5, "B", ABSENT], olds=[[1, ABSENT, ABSENT]])
    folded = take(copy)
    assert written(folded) == [
        ("REKEY", ("id",), [[1, 5]]),
        ("UPDATE", ("id", "code"), [[5, "B"]]),
    ]
    assert groups(folded)[0].missing_is_fine
    assert (
        groups(folded)[1].kept(0)
        == KeptRow(WriteKind.UPDATE, ("id", "code"), ("integer", "text"), [5, "B"], [1]).encode()
    )


def test_a_parked_row_that_waits_for_its_new_key_is_tried_with_it():
    kept = KeptRow(WriteKind.UPDATE, ("id", "code"), ("integer", "text"), [5, "B"], [1]).encode()
    retried = folder().retried((-1, encode_key([5])), kept)
    assert [(g.write.kind.name, g.write.rows) for g in retried] == [("REKEY", [[1, 5]]), ("UPDATE", [[5, "B"]])]
    assert retried[1].kept(0) == kept


def test_a_changed_key_takes_what_was_left_out_from_the_parked_row(parked):
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "long text"])
    (group,) = take(copy).changes
    parked.park([(group.subjects[0], group.kept(0))], 1, "refused", "why")
    copy.add(Op.UPDATE, REL, [[5, "B", ABSENT]], [[1, ABSENT, ABSENT]], partial=True, parked=parked)
    assert written(take(copy, parked)) == [
        ("DELETE", ("id",), [[1]]),
        ("UPSERT", ("id", "code", "text"), [[5, "B", "long text"]]),
    ]


def test_keys_that_are_passed_on_are_changed_in_the_order_of_the_log():
    """1 and 2 are swapped by way of 9; nothing of their texts is known here."""
    copy = folder()
    for old, new in ((1, 9), (2, 1), (9, 2)):
        add(copy, Op.UPDATE, [new, "B", ABSENT], olds=[[old, ABSENT, ABSENT]])
    assert [rows for kind, _, rows in written(take(copy)) if kind == "REKEY"] == [[[1, 9]], [[2, 1]], [[9, 2]]]


# ---- parked rows ----------------------------------------------------------------------------------------------


@pytest.fixture
def parked(tmp_path):
    parked = ParkedRecords(tmp_path / "parked.db", durable=False)
    yield parked
    parked.close()


def test_a_row_behind_a_parked_one_takes_over_what_the_log_left_out(parked):
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "long text"])
    (group,) = take(copy).changes
    parked.park([(group.subjects[0], group.kept(0))], 1, "refused", "why")
    add(copy, Op.UPDATE, [1, "B", ABSENT], [2, "C", ABSENT], olds=[None, None])
    assert written(take(copy, parked)) == [
        ("UPSERT", ("id", "code", "text"), [[1, "B", "long text"]]),
        ("UPDATE", ("id", "code"), [[2, "C"]]),
    ]


def test_what_was_kept_under_another_type_is_taken_in_that_type(parked):
    copy = folder()
    add(copy, Op.INSERT, [1, "A", "17"])
    (group,) = take(copy).changes
    parked.park([(group.subjects[0], group.kept(0))], 1, "refused", "why")
    other = Relation("item", ("id", "code", "text"), ("integer", "text", "uuid"), (0,))
    add(copy, Op.UPDATE, [1, "B", ABSENT], relation=other, olds=[None])
    (group,) = groups(take(copy, parked))
    assert (group.write.kind, group.write.rows, group.types) == (
        WriteKind.UPSERT,
        [[1, "B", "17"]],
        ("integer", "text", "text"),
    )


# ---- tables that cannot be copied -----------------------------------------------------------------------------


def test_rows_for_a_target_without_a_primary_key_are_parked():
    copy = folder(shape(("id", "integer"), ("code", "text"), ("text", "text"), key=()))
    add(copy, Op.INSERT, [1, "A", "x"])
    assert [(key, code) for key, code, _ in misfits(take(copy))] == [(encode_key([1]), "target-no-key")]


def test_rows_without_the_targets_key_are_parked_by_what_names_them_in_the_log():
    columns = [("id", "integer"), ("code", "text"), ("text", "text"), ("number", "integer")]
    copy = folder(shape(*columns, key=("number",)))
    add(copy, Op.INSERT, [1, "A", "x"])
    folded = take(copy)
    assert [(key, code) for key, code, _ in misfits(folded)] == [(encode_key([1]), "target-key-mismatch")]
    assert "no column number, which is of the target's primary key" in folded.unwritable[0].refused.cause


def test_a_log_that_does_not_name_deleted_rows_by_the_targets_key_needs_the_operator():
    copy = folder(shape(("id", "integer"), ("code", "text"), ("text", "text"), key=("code",)))
    with pytest.raises(NeedsOperator, match="cannot be named") as stopped:
        add(copy, Op.DELETE, [1, ABSENT, ABSENT])
    assert stopped.value.code == "key-not-logged"
