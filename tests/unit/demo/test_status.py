"""The daemon's account of itself, in the demo's words."""

from collections import Counter

import pytest

from cdcd import status
from demo.status import StatusFeed, view


def test_a_daemon_with_nothing_to_do_is_quiet(answer):
    assert view(answer(), Counter()).quiet


@pytest.mark.parametrize(
    "changes",
    [
        {"lag_events": 1},
        {"parked": 1},
        {"lag_seconds": 0.5},
        {"worker": status.WorkerStatus(state="retrying")},
    ],
)
def test_a_daemon_with_anything_before_it_is_not_quiet(changes, answer):
    assert not view(answer(**changes), Counter()).quiet


def test_a_daemon_that_has_not_copied_everything_is_not_quiet(answer):
    seeding, nothing = answer(), answer()
    seeding["resolve"]["phases"]["order"] = "seeding"
    for system in nothing["systems"].values():
        system["capture"]["copies"] = []
    assert not view(seeding, Counter()).quiet
    assert not view(nothing, Counter()).quiet


def test_reverts_are_counted_per_system_over_all_entities(tmp_path, answer):
    feed = StatusFeed(tmp_path)
    shop = view(answer(), feed._totals(answer())).systems[1]
    assert (shop.name, shop.reverts, shop.read) == ("shop", 3, 0)


def test_counting_goes_on_when_the_daemon_was_started_again(tmp_path, answer):
    feed = StatusFeed(tmp_path)
    feed._totals(answer())
    feed._totals(answer())
    again = answer() | {"started_at_us": 2}
    assert feed._totals(again)["captured_changes", "erp"] == 10


def test_a_daemon_that_is_not_there_gives_no_view(tmp_path):
    assert StatusFeed(tmp_path).ask() is None
