"""Canonical values as PostgreSQL's text input. `test_postgres_target` has a server read them back."""

import pytest

from cdcd_postgres.encoding import array_literal, copy_text, text_of, transpose


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "t"),
        (False, "f"),
        (-5, "-5"),
        (0.1, "0.1"),
        (float("inf"), "inf"),
        ("a", "a"),
        (b"\0\xff", "\\x00ff"),
    ],
)
def test_a_value_is_one_text(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("values", "literal"),
    [
        ([], "{}"),
        ([1, 2], '{"1","2"}'),
        (["a", "b,c"], '{"a","b,c"}'),
        (["", "NULL", None], '{"","NULL",NULL}'),
        ([None, None], "{NULL,NULL}"),
        (['say "x"', "back\\slash"], '{"say \\"x\\"","back\\\\slash"}'),
        ([b"\xff", None], '{"\\\\xff",NULL}'),
        ([True, 1, 1.5, "t"], '{"t","1","1.5","t"}'),
        (["{a}", "\n"], '{"{a}","\n"}'),
    ],
)
def test_a_column_is_one_array_literal(values, literal):
    assert array_literal(values) == literal


def test_rows_become_columns_and_some_may_be_left_out():
    rows = [[1, "a", None], [2, "b", True]]
    assert transpose(rows) == [(1, 2), ("a", "b"), (None, True)]
    assert transpose(rows, (2, 0)) == [(None, True), (1, 2)]


def test_rows_are_lines_of_copy_in_which_nothing_can_be_taken_for_a_separator():
    columns = [(1, 2, None), ("a", "", None), ("tab\tline\nend\rback\\", "\\.", "\\N"), (b"\xff", True, 1.5)]
    assert copy_text(columns) == (b"1\ta\ttab\\tline\\nend\\rback\\\\\t\\\\xff\n2\t\t\\\\.\tt\n\\N\t\\N\t\\\\N\t1.5\n")
    assert copy_text([("", "x")]) == b"\nx\n"


def test_a_text_that_cannot_be_stored_is_escaped_as_well_and_left_to_the_server():
    assert copy_text([("a\0\t", None, "b\\")]) == b"a\0\\t\n\\N\nb\\\\\n"
    assert array_literal(['"\0', "a"]) == '{"\\"\0","a"}'
    with pytest.raises(UnicodeEncodeError):
        copy_text([("\ud800",)])
