"""The verbs about parked records: a wish in the deliverer's file, a correction in the journal."""

from pathlib import Path

import msgspec
import pytest

from cdcd import operations
from cdcd.journal import decode_command
from cdcd.operations.parked import packed
from cdcd.parking import wishes as parked_wishes
from cdcd.parking.parked import ParkedRecords
from cdcd.parking.wishes import Chosen, Wish
from cdcd.resolve.correcting import Correction
from unit.operations.conftest import Bench

A = (1, b"a")


@pytest.fixture
def at(bench: Bench, tmp_path: Path) -> Bench:
    config = bench.desk.blueprint.config
    daemon = msgspec.structs.replace(config.daemon, state_dir=str(tmp_path))
    blueprint = msgspec.structs.replace(bench.desk.blueprint, config=msgspec.structs.replace(config, daemon=daemon))
    bench.desk = msgspec.structs.replace(bench.desk, blueprint=blueprint)
    return bench


def test_a_wish_lies_in_the_deliverers_file_and_the_deliverer_is_woken(at: Bench, tmp_path: Path):
    answer = at.do("parked", system="erp", wish=packed(Wish("discard", 2**60, Chosen([A]))))
    assert answer.result == {"system": "erp", "verb": "discard", "state": "running"}
    assert at.crew.rung == {"deliver:erp"}
    parked = ParkedRecords(tmp_path / "deliver-erp.db", durable=False)
    parked.park([(A, None)], 1, "check", "why")
    assert parked_wishes.carry_out(parked, 1) == 1
    assert len(parked) == 0
    parked.close()


def test_a_correction_is_a_command_in_the_journal(at: Bench):
    correction = Correction("erp", 1, b"k", {2: (77, "new")})
    answer = at.do("parked-edit", correction=packed(correction))
    (entry,) = at.journal.read(0)
    assert answer.result["seq"] == entry.seq
    command = decode_command(entry.note)
    assert command.name == "edit"
    assert msgspec.convert(command.arguments["correction"], Correction) == correction
    assert at.crew.rung == {"resolve"}


@pytest.mark.parametrize("wish", ["", "no base64!", packed(Chosen())])
def test_what_is_not_understood_is_refused(at: Bench, wish: str):
    with pytest.raises(operations.RequestError):
        at.do("parked", system="erp", wish=wish)
    with pytest.raises(operations.RequestError, match="unknown target"):
        at.do("parked", system="shop", wish=wish)
