"""Rows of items of one shape, column by column."""

from __future__ import annotations

import pytest

from cdcd.errors import Refused
from cdcd.folding.folded import Subjects
from cdcd.folding.item_rows import ItemRows
from cdcd.resolve.keys import encode_key
from cdcd.values import ValueRefused


def item(*key, values=(), initial=()):
    return [1, 1, encode_key(key), 0, list(values), 0, list(initial)]


def rows(*places, ways=(), archived=None, width=1):
    return ItemRows(lambda: pytest.fail("no group is wanted"), width, places, ways, archived)


def test_key_parts_values_and_initial_values_are_picked_by_place():
    made = rows(0, 3, 1, 4, width=2)
    items = [item("a", number, values=["v", number * 10], initial=[None]) for number in range(3)]
    assert made.rows(items) == [["a", number * 10, number, None] for number in range(3)]
    assert made.row(items[1]) == ["a", 10, 1, None]


def test_several_key_parts_can_be_one_value():
    made = rows(slice(0, 2), 2, width=3)
    assert made.rows([item("a", 1, "x"), item("b", 2, "y")]) == [[["a", 1], "x"], [["b", 2], "y"]]


def test_values_become_the_columns_and_null_what_it_becomes():
    made = rows(0, 1, 2, ways=((1, str.upper, "none"), (2, None, 0)))
    items = [item("a", values=["x", 5]), item("b", values=[None, None])]
    assert made.rows(items) == [["a", "X", 5], ["b", "none", 0]]


def test_what_is_archived_replaces_the_values():
    made = rows(0, 1, archived=("gone",))
    assert made.rows([item("a"), item("b")]) == [["a", "gone"], ["b", "gone"]]


def test_a_value_without_a_form_is_refused():
    def refuse(_value):
        raise ValueRefused("no")

    with pytest.raises(ValueRefused):
        rows(0, ways=((0, refuse, None),)).rows([item("a")])
    assert not issubclass(ValueRefused, Refused)


def test_subjects_are_made_when_they_are_asked_for():
    subjects = Subjects(4, [b"a", b"b", b"c"], bytes)
    assert (len(subjects), subjects[1], subjects[-1]) == (3, (4, b"b"), (4, b"c"))
    assert list(subjects[1:]) == [(4, b"b"), (4, b"c")]
