"""Schedules and rate limits in the configuration: what does not fit is said with the way out."""

import pytest

from cdcd import config_schedules
from cdcd.config import Binding, Config, Daemon, Deliver, Entity, Field
from cdcd.config_verify import Verify, VerifySchedule


def problems(deliver: Deliver, **options: object) -> list[str]:
    binding = Binding("item", {"sku": "code"}, deliver=deliver)
    entity = Entity(["sku"], {"sku": Field("text")}, {"shop": binding})
    config = Config(Daemon("acme", "/state"), {"shop": {"adapter": "mysql", **options}}, entities={"product": entity})
    return list(config_schedules.problems(config))


@pytest.mark.parametrize(
    "deliver",
    [
        Deliver(),
        Deliver("on-demand"),
        Deliver("every 10m"),
        Deliver("every 90s", window="22:00-04:00", time_zone="Europe/Berlin"),
        Deliver("0 2 * * *"),
        Deliver("0 2 * * *", window="02:00-04:00", time_zone="Europe/Berlin"),
        Deliver("* * * * *", window="02:00-04:00"),
        Deliver("0 2 29 2 *", window="02:00-04:00"),
        Deliver("0 0 * * SUN#1"),
    ],
)
def test_what_fits_is_not_spoken_of(deliver: Deliver):
    assert problems(deliver) == []


@pytest.mark.parametrize(
    ("deliver", "said"),
    [
        (Deliver("hourly"), 'schedule: expected "realtime", "on-demand", "every 10m" or the five fields of a cron'),
        (Deliver("every 10"), "schedule: expected a duration like 10m"),
        (Deliver("every 100ms"), "schedule: expected at least every 1s"),
        (Deliver("61 2 * * *"), "schedule: not a cron expression: Bad minute, in '61 2 * * *'"),
        (Deliver("0 2 30 2 *"), "schedule: not a cron expression: Bad day-of-month"),
        (Deliver("0 2 * * *", window="2-4"), "window: expected a window like \"02:00-04:00\", got '2-4'"),
        (Deliver("0 2 * * *", window="02:00-02:00"), "window: the window '02:00-02:00' begins when it ends"),
        (Deliver("0 2 * * *", time_zone="Berlin"), "time-zone: unknown zone 'Berlin'; use an IANA name"),
        (
            Deliver(window="02:00-04:00"),
            'window: has no meaning with schedule = "realtime"; use schedule = "every 10m"',
        ),
        (Deliver("on-demand", window="02:00-04:00"), 'window: has no meaning with schedule = "on-demand"'),
        (Deliver("every 10m", time_zone="UTC"), "time-zone: belongs to a window or a cron expression"),
        (Deliver("0 5 * * *", window="02:00-04:00"), "window: no moment of '0 5 * * *' lies in '02:00-04:00'; begin"),
    ],
)
def test_what_does_not_fit_is_named_with_key_value_and_way_out(deliver: Deliver, said: str):
    (problem,) = problems(deliver)
    assert problem.startswith(f"entities.product.in.shop.deliver.{said}")


@pytest.mark.parametrize("rows", [0, -1, "500", 1.5, True])
def test_a_rate_is_a_number_of_rows(rows: object):
    (problem,) = problems(Deliver(), **{"rows-per-second": rows})
    assert problem.startswith(f"systems.shop.rows-per-second: expected a number of rows, 1 at least, got {rows!r}")


def test_a_burst_belongs_to_a_rate():
    assert problems(Deliver(), **{"rows-per-second": 5, "burst-rows": 10}) == []
    (problem,) = problems(Deliver(), **{"burst-rows": 10})
    assert problem.startswith("systems.shop.burst-rows: belongs to a limit; add rows-per-second = 500")


@pytest.mark.parametrize(
    ("verify", "said"),
    [
        (Verify("realtime"), "verify.schedule: a verification begins at a time"),
        (Verify("every 10"), "verify.schedule: expected a duration"),
        (Verify("0 3 * * *", window="02:00-02:30"), "verify.window: no moment of '0 3 * * *' lies in '02:00-02:30'"),
        (Verify(window="02:00-04:00"), 'verify.window: has no meaning with schedule = "on-demand"'),
        (
            Verify(entities={"nix": VerifySchedule()}),
            "verify.entities.nix: there is no such entity; there are: product",
        ),
        (
            Verify(entities={"product": VerifySchedule("every 1")}),
            "verify.entities.product.schedule: expected a duration",
        ),
    ],
)
def test_the_schedule_of_a_verification_is_checked_like_that_of_a_delivery(verify: Verify, said: str):
    entity = Entity(["sku"], {"sku": Field("text")}, {"shop": Binding("item", {"sku": "code"})})
    config = Config(
        Daemon("acme", "/state"), {"shop": {"adapter": "mysql"}}, entities={"product": entity}, verify=verify
    )
    (problem,) = config_schedules.problems(config)
    assert problem.startswith(said)
