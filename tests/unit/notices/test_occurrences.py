"""What begins, lasts and ends, out of what is the case from moment to moment."""

from collections.abc import Sequence

from cdcd.notices.kinds import KINDS, SEVERITIES, Kind
from cdcd.notices.occurrences import Changes, Condition, Key, Sight, Watched, changes

SECOND = 1_000_000
AWAY: Key = ("source-unavailable", "erp")
KIND = {"source-unavailable": Kind("warning", "away", after_seconds=120, over_seconds=60)}


def sight(*keys: Key, unknown: Sequence[Key] = ()) -> Sight:
    return Sight({key: Condition("erp does not answer", "cdcd check") for key in keys}, frozenset(unknown))


def follow(*moments: tuple[int, Sight]) -> list[tuple[int, str, int]]:
    """What began and ended at which second, and since when it was so."""
    watched: dict[Key, Watched] = {}
    found = []
    for second, seen in moments:
        made: Changes = changes(watched, seen, second * SECOND, KIND)
        watched = made.watched
        found += [(second, "begun", begun.at_us // SECOND) for begun in made.begun]
        found += [(second, "ended", at_us // SECOND) for at_us in made.ended.values()]
    return found


def test_what_lasts_long_enough_begins_when_it_was_first_seen():
    assert follow((0, sight(AWAY)), (119, sight(AWAY)), (120, sight(AWAY)), (500, sight(AWAY))) == [(120, "begun", 0)]


def test_what_is_short_is_nothing():
    assert follow((0, sight(AWAY)), (100, sight()), (160, sight()), (170, sight(AWAY)), (250, sight(AWAY))) == []


def test_what_is_gone_for_a_while_has_ended_when_it_went():
    assert follow((0, sight(AWAY)), (120, sight(AWAY)), (200, sight()), (259, sight()), (260, sight())) == [
        (120, "begun", 0),
        (260, "ended", 200),
    ]


def test_what_comes_and_goes_is_one():
    flapping = [(at, sight(AWAY) if at % 60 < 30 else sight()) for at in range(0, 600, 10)]
    assert follow(*flapping, (600, sight()), (700, sight())) == [(120, "begun", 0), (700, "ended", 570)]


def test_what_nobody_can_know_neither_begins_nor_ends():
    restarting = sight(unknown=[AWAY])
    assert follow((0, sight(AWAY)), (120, sight(AWAY)), (130, restarting), (900, restarting), (901, sight(AWAY))) == [
        (120, "begun", 0)
    ]
    assert follow((0, restarting), (900, restarting)) == []


def test_what_was_open_before_a_restart_does_not_begin_again_and_may_have_ended_meanwhile():
    before = {AWAY: Watched(0, is_open=True)}
    again = changes(before, sight(AWAY), 900 * SECOND, KIND)
    assert (again.begun, again.ended) == ([], {})
    once = changes(before, sight(), 900 * SECOND, KIND)
    assert changes(once.watched, sight(), 960 * SECOND, KIND).ended == {AWAY: 900 * SECOND}


def test_a_clock_that_is_put_back_delays_nothing_for_longer_than_it_lasts():
    assert follow(
        (1000, sight(AWAY)), (10, sight(AWAY)), (130, sight(AWAY)), (900, sight()), (5, sight()), (65, sight())
    ) == [
        (130, "begun", 10),
        (65, "ended", 5),
    ]


def test_every_kind_has_a_severity_and_a_meaning():
    assert all(kind.severity in SEVERITIES and kind.meaning for kind in KINDS.values())
