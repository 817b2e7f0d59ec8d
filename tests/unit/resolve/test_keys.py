"""Keys as bytes: what is equal is equal, a parent's key is a prefix of its children's, and of nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.resolve.keys import after_prefix, decode_key, decode_keys, encode_key

part = (
    st.integers(min_value=-(2**63), max_value=2**64 - 1) | st.text(max_size=40) | st.booleans() | st.binary(max_size=5)
)


@given(parts=st.lists(part, min_size=1, max_size=4))
def test_a_key_reads_back_as_it_was_written(parts):
    assert decode_key(encode_key(parts), len(parts)) == parts


@given(width=st.integers(1, 3), data=st.data())
def test_many_keys_are_read_by_place(width, data):
    keys = data.draw(st.lists(st.lists(part, min_size=width, max_size=width), min_size=1, max_size=20))
    columns = decode_keys([encode_key(parts) for parts in keys], width)
    assert [list(parts) for parts in zip(*columns, strict=True)] == keys


@given(parent=st.lists(part, min_size=1, max_size=2), child=part, stranger=st.lists(part, min_size=1, max_size=3))
def test_the_range_of_a_prefix_holds_the_children_and_nobody_else(parent, child, stranger):
    prefix = encode_key(parent)
    inside = encode_key([*parent, child])
    assert prefix <= inside < after_prefix(prefix)
    other = encode_key(stranger)
    is_child = stranger[: len(parent)] == parent and [type(p) for p in stranger[: len(parent)]] == [
        type(p) for p in parent
    ]
    assert (prefix <= other < after_prefix(prefix)) == is_child


@pytest.mark.parametrize("one", [1, "1", True, b"1", 1.5])
def test_values_of_different_types_are_different_keys(one):
    others = [other for other in (1, "1", True, b"1", 1.5) if other is not one]
    assert all(encode_key([one]) != encode_key([other]) for other in others)


def test_a_key_has_a_limit_of_parts():
    with pytest.raises(AssertionError, match="15 parts"):
        encode_key([0] * 16)
