"""Verifications begin when their time has come, and their process is kept."""

import sys
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from cdcd.blueprint import Blueprint
from cdcd.config_verify import Verify, VerifySchedule
from cdcd.state_directory import StateDirectory
from cdcd.verifying import keeper as keeping
from cdcd.verifying import timetable
from cdcd.verifying.keeper import Keeper
from cdcd.verifying.results import Asked, Results, path_in
from unit.small_line import load

ENTITY = """
[entities.{0}]
key = ["sku"]
create = ["erp"]
[entities.{0}.fields]
sku = {{ type = "text", owner = "erp" }}
[entities.{0}.in.erp]
table = "{0}_erp"
columns = {{ sku = "code" }}
[entities.{0}.in.shop]
table = "{0}"
columns = {{ sku = "sku" }}
"""
HOUR_US = 3_600_000_000


def blueprint(verify: Verify) -> Blueprint:
    config = structs.replace(load(ENTITY.format("product") + ENTITY.format("order"), ("erp", "shop")), verify=verify)
    names = {
        "erp": {"product_erp": "product_erp", "order_erp": "order_erp"},
        "shop": {"product": "product", "order": "order"},
    }
    return Blueprint("cdcd.toml", config, {}, names, {})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The processes that were started; each ends at once."""
    found: list[list[str]] = []
    real = keeping.subprocess.Popen

    def start(command: list[str], **options: object) -> object:
        found.append(command)
        return real([sys.executable, "-c", "raise SystemExit(1)"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(keeping.subprocess, "Popen", start)
    return found


def runs(path: Path) -> list[Asked]:
    with closing(Results(path_in(path))) as results:
        return [run.asked for run in results.runs()]


def test_without_schedules_and_wishes_there_is_nothing_to_do(tmp_path, started):
    keeper = Keeper(StateDirectory(tmp_path))
    keeper.follow(blueprint(Verify()))
    keeper.turn(0, 0.0)
    assert keeper.wait_seconds(0.0) == float("inf")
    assert not path_in(tmp_path).exists()
    assert started == []
    keeper.close()


def test_a_moment_begins_one_run_of_all_that_share_its_schedule(tmp_path, started):
    keeper = Keeper(StateDirectory(tmp_path))
    keeper.follow(blueprint(Verify("every 2h", entities={"order": VerifySchedule("every 1h")})))
    now_us = 100 * HOUR_US
    keeper.turn(now_us, 0.0)
    assert (runs(tmp_path), started) == ([], [])
    keeper.turn(now_us + HOUR_US, 10.0)
    assert runs(tmp_path) == [Asked(("order",), scheduled=True)]
    assert len(started) == 1
    keeper.turn(now_us + 2 * HOUR_US, 20.0)
    assert runs(tmp_path) == [Asked(("order",), scheduled=True), Asked(("product",), scheduled=True)]
    keeper.close()


def test_what_is_asked_for_is_worked_on_until_it_is_done(tmp_path, started):
    keeper = Keeper(StateDirectory(tmp_path))
    keeper.follow(blueprint(Verify()))
    with closing(Results(path_in(tmp_path))) as results:
        run = results.ask(Asked(("product",)), [("product", "erp")])
        now = 0.0
        while len(started) < 3:  # it fails, and is started again, later and later
            now += 5.0
            keeper.turn(0, now)
        results.cancel(run)
    for _ in range(20):
        now += 60.0
        keeper.turn(0, now)
    assert len(started) == 3
    keeper.close()


def test_parts_are_entities_with_their_children_in_the_systems_that_have_them():
    plan = blueprint(Verify()).plan()
    assert timetable.parts(plan, ["order", "product"], ["shop"]) == [("product", "shop"), ("order", "shop")]
    assert timetable.parts(plan, ["order"]) == [("order", "erp"), ("order", "shop")]


def test_a_damaged_file_stops_nothing_else(tmp_path, started, caplog):
    keeper = Keeper(StateDirectory(tmp_path))
    keeper.follow(blueprint(Verify()))
    path_in(tmp_path).write_bytes(b"no database" * 1_000)
    keeper.turn(0, 0.0)
    assert "nothing can be verified" in caplog.text
    path_in(tmp_path).unlink()
    with closing(Results(path_in(tmp_path))) as results:
        results.ask(Asked(("product",)), [("product", "erp")])
    keeper.turn(0, keeping.AGAIN_SECONDS)
    assert len(started) == 1
    keeper.close()
