"""JSON compared by content."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd import json_content
from cdcd.conversions import to_column, to_field
from cdcd.json_content import KnownJson, canonical_json, canonical_json_of_all
from cdcd.values import ValueRefused, parse_type


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{ "b" : 1,\n"a": [ ] }', '{"a":[],"b":1}'),
        ('{"a": {"d": 1, "c": 2}}', '{"a":{"c":2,"d":1}}'),
        ('{"é": 1, "z": 2}', '{"z":2,"é":1}'),
        ('"\\u00e9\\ud83d\\ude00\\/"', '"é😀/"'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1.10", "1.1"),
        ("1.1e0", "1.1"),
        ("100", "100"),
        ("1E2", "100"),
        ("100.0", "100"),
        ("-0.0", "0"),
        ('["0.10", 0.10, -10.00, 1.0E1]', '["0.10",0.1,-10,10]'),
        ("0." + "0" * 39 + "10", "0." + "0" * 39 + "1"),
        ('[1.50, "' + "1" * 41 + '0"]', '[1.5,"' + "1" * 41 + '0"]'),
        ("0.00120", "0.0012"),
        ("1e-50", "1e-50"),
        ("0.1000000000000000000000000000000000000001", "0.1000000000000000000000000000000000000001"),
        ("10e399", "1e400"),
        ("1" + "0" * 400, "1e400"),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        (" null ", "null"),
    ],
)
def test_json_of_equal_content_gives_equal_text(text, canonical):
    inward = to_field(parse_type("json"), parse_type("json"), None).convert
    assert inward(text) == canonical
    assert inward(canonical) == canonical


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"a":1,}', '"\\ud800"', "[" * 100_000 + "]" * 100_000, "1e" + "9" * 30, "9" * 5000]
)
def test_json_that_cannot_be_kept_digit_for_digit_is_refused(text):
    with pytest.raises(ValueRefused, match="json"):
        canonical_json(text)


def test_json_in_a_record_is_canonical_already_and_is_written_as_it_is():
    assert to_column(parse_type("json"), parse_type("json"), None).convert is None


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
).map(lambda tree: canonical_json(json.dumps(tree)))


@given(tree=TREES)
def test_canonical_json_means_the_same_as_what_it_was_made_of(tree):
    shuffled = json.dumps(json.loads(tree), indent=1, sort_keys=False)
    assert canonical_json(shuffled) == tree
    assert json.loads(canonical_json(shuffled)) == json.loads(tree)


@given(
    digits=st.integers(-(10**45), 10**45).filter(bool),
    exponent=st.integers(-60, 60),
    zeros=st.integers(0, 5),
)
def test_equal_numbers_have_one_text_however_they_are_written(digits, exponent, zeros):
    plain = canonical_json(f"{digits}e{exponent}")
    assert canonical_json(f"{digits}{'0' * zeros}e{exponent - zeros}") == plain
    assert canonical_json(f"{digits}.{'0' * (zeros + 1)}E{exponent:+}") == plain
    assert canonical_json(plain) == plain
    assert Decimal(plain) == Decimal(f"{digits}e{exponent}")


TEXTS = ['{"b": 1, "a": "x\\ny"}', "[1.50, -0.0]", '"\u2028"', "{}", "1e2", "9" * 41, "{\n}", "18446744073709551616"]


@pytest.mark.parametrize("count", range(len(TEXTS) + 1))
def test_many_texts_become_what_each_becomes(count):
    known = KnownJson()
    wanted = [canonical_json(text) for text in TEXTS[:count]]
    assert canonical_json_of_all(TEXTS[:count]) == wanted
    for _ in range(2):
        assert known.canonical(TEXTS[:count]) == wanted


@pytest.mark.parametrize(
    "texts", [["1 2"], ["", "1,2"], ["[1", "2]"], ["1],[2", "[1", "2]"], ['"a', 'b"'], ["1", "\ud800"]]
)
def test_many_texts_are_refused_when_one_of_them_is_no_json_whatever_stands_beside_it(texts):
    for convert in (canonical_json_of_all, KnownJson().canonical):
        with pytest.raises(ValueRefused):
            convert(texts)


def test_what_is_known_of_json_is_bounded(monkeypatch):
    monkeypatch.setattr(json_content, "KNOWN_CHARACTERS", 10)
    known = KnownJson()
    for text in ("[1, 2]", "[3, 4]", '"a long text"'):
        assert known.canonical([text]) == [canonical_json(text)]
        assert sum(map(len, known._forms)) <= 10


def test_what_is_known_of_numbers_is_bounded(monkeypatch):
    monkeypatch.setattr(json_content, "KNOWN_NUMBERS", 3)
    numbers = json_content._PlainNumbers()
    for number in range(10):
        assert bytes(numbers[f"{number}.50"]) == f"{number}.5".encode()
        assert numbers[f"{number}.50"] is numbers[f"{number}.50"]
        assert len(numbers) <= 3
    long = "0." + "0" * 60 + "1"
    assert bytes(numbers[long]) == b"1e-61"
    assert long not in numbers
