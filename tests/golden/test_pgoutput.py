"""What real servers have sent, in all versions of the protocol, decodes to what their tables held."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.errors import DecodeError
from cdcd.model import Op, Rows
from golden.pgoutput_captures import Capture, captures, decode, replica

CAPTURES = list(captures())
_BODY = 25


def plain(rows: list[dict]) -> list[list]:
    """As text; columns that came or went meanwhile are not compared, and a renamed one has its old name."""
    named = [{("name" if key == "title" else key): str(value) for key, value in row.items()} for row in rows]
    return sorted(sorted((key, row[key]) for key in row if key not in ("price", "more")) for row in named)


@pytest.mark.parametrize("capture", CAPTURES, ids=[capture.name for capture in CAPTURES])
def test_a_capture_gives_the_tables_that_the_server_had(capture: Capture):
    found = replica(decode(capture.frames))
    for table, rows in capture.state.items():
        assert plain(found.get(table, [])) == plain(rows), table


@pytest.mark.parametrize("scenario", ["large", "prepared_unasked"])
def test_all_versions_of_the_protocol_tell_the_same_of_one_scenario(scenario: str):
    asked = {"large": ("streaming", "parallel"), "prepared_unasked": ("two_phase", "two_phase_streaming")}[scenario]
    for capture in CAPTURES:
        major, name = capture.name.split("/")
        if name in asked:
            unasked = next(other for other in CAPTURES if other.name == f"{major}/{scenario}")
            assert contents(capture) == contents(unasked), capture.name


def contents(capture: Capture) -> list:
    return [
        (event.op, event.relation, event.rows, event.olds)
        for event in decode(capture.frames)
        if isinstance(event, Rows)
    ]


def test_the_captures_hold_every_kind_of_message_of_the_protocol():
    kinds = {chr(frame[_BODY]) for capture in CAPTURES for frame in capture.frames}
    assert kinds == set("BCORYIUDTM" + "SEcA" + "bPKrp")
    assert {Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE} <= {
        event.op for capture in CAPTURES for event in decode(capture.frames) if isinstance(event, Rows)
    }


def test_there_are_captures_of_three_servers():
    assert {capture.name.split("/")[0] for capture in CAPTURES} == {"15", "17", "18"}


@settings(max_examples=150)
@given(st.integers(0, len(CAPTURES) - 1), st.integers(0, 2**32), st.integers(1, 8))
def test_captures_with_changed_bytes_raise_only_decode_errors(number: int, seed: int, change_count: int):
    frames = mutated(CAPTURES[number].frames, random.Random(seed), change_count)
    with suppress(DecodeError):
        decode(frames)


def mutated(frames: list[bytes], chance: random.Random, change_count: int) -> list[bytes]:
    """Up to 60 frames in a row with bytes changed, cut and put in, and frames left out, doubled and exchanged."""
    start = chance.randrange(len(frames))
    frames = frames[:10] + frames[start : start + 50]
    for _ in range(change_count):
        number = chance.randrange(len(frames))
        frame = frames[number]
        at = chance.randrange(_BODY, len(frame) + 1)
        data = chance.randbytes(chance.randrange(4))
        match chance.randrange(5):
            case 0:
                frames[number] = frame[:at] + data + frame[at + len(data) :]
            case 1:
                frames[number] = frame[:at] + data + frame[at + chance.randrange(4) :]
            case 2:
                frames[number] = frame[:at]
            case 3:
                frames.insert(chance.randrange(len(frames)), frame)
            case 4:
                frames[number], frames[at % len(frames)] = frames[at % len(frames)], frame
    return frames
