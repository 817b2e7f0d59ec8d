"""When and how fast targets are told, checked: schedules of bindings, rate limits of systems."""

from __future__ import annotations

from collections.abc import Iterator

from cdcd import config as c
from cdcd import config_parts
from cdcd.config_verify import VerifySchedule
from cdcd.scheduling import rate_limit, schedule

_MOMENTS_TRIED = 50


def problems(config: c.Config) -> Iterator[str]:
    """What does not fit, with the key, the value and the way out."""
    for name, options in config.systems.items():
        yield from _rate_limit(f"systems.{name}", options)
    for name, entity in config.entities.items():
        for system, binding in entity.bindings.items():
            yield from _deliver(f"entities.{name}.in.{system}.deliver", binding.deliver)
    yield from _verify(config)


def _verify(config: c.Config) -> Iterator[str]:
    yield from _verification("verify", config.verify)
    for name, wanted in config.verify.entities.items():
        if name not in config.entities:
            yield f"verify.entities.{name}: there is no such entity; there are: {', '.join(config.entities)}"
        yield from _verification(f"verify.entities.{name}", wanted)


def _verification(at: str, wanted: VerifySchedule) -> Iterator[str]:
    if wanted.schedule == "realtime":
        yield f'{at}.schedule: a verification begins at a time; "0 3 * * *", "every 6h", or "on-demand" for never by itself'
    else:
        yield from _deliver(at, c.Deliver(wanted.schedule, wanted.window, wanted.time_zone))


def _rate_limit(at: str, options: dict[str, object]) -> Iterator[str]:
    for key in (rate_limit.ROWS_KEY, rate_limit.BURST_KEY):
        value = options.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"{at}.{key}: expected a number of rows, 1 at least, got {value!r}; without a limit leave it out"
    if rate_limit.BURST_KEY in options and rate_limit.ROWS_KEY not in options:
        yield f"{at}.{rate_limit.BURST_KEY}: belongs to a limit; add {rate_limit.ROWS_KEY} = 500, or leave it out"


def _deliver(at: str, deliver: c.Deliver) -> Iterator[str]:
    found: list[str] = []
    if deliver.time_zone is not None:
        found += config_parts.zone(f"{at}.time-zone", deliver.time_zone)
    if deliver.window is not None:
        try:
            schedule.parse_window(deliver.window)
        except ValueError as error:
            found.append(f"{at}.window: {error}")
    if found:
        yield from found
        return
    try:
        compiled = schedule.compiled(deliver)
    except ValueError as error:
        yield f"{at}.schedule: {error}"
        return
    yield from _together(at, deliver, compiled)


def _together(at: str, deliver: c.Deliver, compiled: schedule.Schedule) -> Iterator[str]:
    """Keys that say something together, or nothing."""
    if deliver.window is not None and compiled.kind in ("realtime", "on-demand"):
        yield f'{at}.window: has no meaning with schedule = "{compiled.kind}"; use schedule = "every 10m", or leave it out'
    elif deliver.time_zone is not None and compiled.window is None and compiled.kind != "cron":
        yield f"{at}.time-zone: belongs to a window or a cron expression, and there is none; leave it out"
    if compiled.kind == "cron" and compiled.window is not None and not any(_moments_in_window(compiled)):
        yield f"{at}.window: no moment of {deliver.schedule!r} lies in {deliver.window!r}; begin the window at such a moment"


def _moments_in_window(compiled: schedule.Schedule) -> Iterator[bool]:
    """For moments of the expression, each the first after another opening of the window: whether it is open then."""
    after_us = 0
    for _ in range(_MOMENTS_TRIED):
        moment_us = schedule.due_at_us(compiled, after_us)
        if moment_us is None:
            return
        yield schedule.in_window(compiled, moment_us)
        after_us = schedule.opening_us(compiled, moment_us) - 1
