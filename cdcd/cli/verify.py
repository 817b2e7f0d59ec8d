"""`cdcd verify [ENTITY…]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.record_names import key_text

DRIFTED: Final = 1
SHOWN: Final = 20
VALUE_CHARACTERS: Final = 60
_NOT_IN_STEP: Final = ("missing", "different", "surplus")


class Wish(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    entities: tuple[str, ...]
    systems: tuple[str, ...]
    keys: tuple[str, ...]
    where: str | None
    detach: bool
    limit: int
    values: bool
    as_json: bool


@click.command("verify")
@click.argument("entities", nargs=-1, metavar="[ENTITY]...", shell_complete=completing.entities)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="S",
    help="Compare only in this system.",
    shell_complete=completing.systems,
)
@click.option("--key", "keys", multiple=True, metavar="K", help="Only the record with this key (A/B of several parts).")
@click.option("--where", metavar="SQL", help="Only rows of the main table of --system that satisfy this condition.")
@click.option("--detach", is_flag=True, help="Do not wait for the end; --list shows it.")
@click.option(
    "--limit", default=SHOWN, show_default=True, type=click.IntRange(0), help="Differences to show of each part."
)
@click.option("--values", is_flag=True, help="Show what differing fields hold, and should hold, as of now.")
@click.option("--list", "verb", flag_value="list", help="Show what was verified, what is, and how everything stands.")
@click.option("--show", "run", type=int, metavar="RUN", help="Show what an earlier verification has found.")
@click.option("--pause", "verb", flag_value="pause", help="Stop after the rows in work.")
@click.option("--resume", "verb", flag_value="resume", help="Go on where --pause stopped.")
@click.option("--cancel", "verb", flag_value="cancel", help="End it.")
@click.option("--repair", "verb", flag_value="repair", help="Put right what was found (by --show RUN, or now).")
@click.option("--dry-run", is_flag=True, help="With --repair: say what it would do, and do nothing.")
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
@common
def command(
    entities: tuple[str, ...],
    systems: tuple[str, ...],
    keys: tuple[str, ...],
    where: str | None,
    detach: bool,
    limit: int,
    values: bool,
    verb: str | None,
    run: int | None,
    dry_run: bool,
    yes: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Say whether the data is in step: compare live rows with what they should be, while changes flow.

    Without ENTITY everything. Reads only, beside the stream. What is on its way, told later, parked or waits for a decision is no
    difference. Exits with 1 when records are not in step.

    Examples: cdcd verify; cdcd verify order --system shop; cdcd verify product --key A-100; cdcd verify --list; cdcd verify
    product --repair --dry-run
    """
    wish = Wish(entities, systems, keys, where, detach, limit, values, as_json)
    if keys and where is not None:
        raise click.UsageError("Either --key or --where.")
    if (dry_run or yes) and verb != "repair":
        raise click.UsageError("--dry-run and --yes belong to --repair.")
    if verb == "list":
        answer("verify", as_json, lambda: _list(config))
    if verb in ("pause", "resume", "cancel"):
        change = str(verb)
        answer("verify", as_json, lambda: _change(config, wish, change))
    if verb == "repair":
        answer("verify", as_json, lambda: _repair(config, wish, run, dry_run=dry_run, yes=yes))
    if run is not None:
        number = run
        answer("verify", as_json, lambda: _outcome(config, number, wish))
    answer("verify", as_json, lambda: _verify(config, wish))


def _verify(config: Path, wish: Wish) -> Verdict:
    started = daemon.ask(config, "verify", **_arguments(config, wish))
    run = int(started["run"])
    if wish.detach:
        return Verdict(f"verification {run} has begun; 'cdcd verify --list' shows it", started)
    if not _watched(config, run, wish):
        return Verdict(f"verification {run} goes on; 'cdcd verify --list' shows it, --cancel ends it", started)
    return _outcome(config, run, wish)


def _arguments(config: Path, wish: Wish) -> dict[str, Any]:
    arguments: dict[str, Any] = {"entities": list(wish.entities), "systems": list(wish.systems), "where": wish.where}
    if wish.keys and len(wish.entities) == 1:
        arguments["keys"] = _keys(config, wish.entities[0], wish.keys)
    elif wish.keys:
        raise click.UsageError("--key names a record of one ENTITY.")
    return arguments


def _keys(config: Path, entity: str, words: Sequence[str]) -> list[str]:
    """The keys as records have them, in hexadecimal."""
    from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads adapters
    from cdcd.record_names import named, without_tokens  # noqa: PLC0415

    drawn = blueprint.draw(config_rules.load(config), str(config))
    plan = drawn.plan()
    return [named(plan, entity, [word]).key.hex() for word in without_tokens(drawn, entity, words)]


def _watched(config: Path, run: int, wish: Wish) -> bool:
    """Wait for the end of a run; False where the person will not."""
    from cdcd.cli.verify_progress import watch  # noqa: PLC0415 - loads rich

    return watch(lambda: _asked(config, run, 0)["runs"][0], quiet=wish.as_json)


def _asked(config: Path, run: int, limit: int) -> dict[str, Any]:
    found: dict[str, Any] = daemon.ask(config, "verifications", run=run, limit=limit)
    return found


# ---- what was found ------------------------------------------------------------------------------------------------


def _outcome(config: Path, number: int, wish: Wish) -> Verdict:
    found = _asked(config, number, wish.limit)
    run = found["runs"][0]
    if wish.values:
        _add_values(config, found["differences"])
    result = {**run, "differences": found["differences"]}
    lines = [*_parts(run), *_differences(found["differences"])]
    if run["state"] == "cancelled":
        return Verdict(f"verification {number} was cancelled", result, lines, DRIFTED)
    undone = [one for one in run["comparisons"] if one["state"] in ("skipped", "failed")]
    if run["drift"]:
        told = f"{run['drift']:,} records are not in step; 'cdcd verify --show {number} --repair' puts them right"
        return Verdict(told, result, lines, DRIFTED)
    if undone:
        plural = "" if len(undone) == 1 else "s"
        return Verdict(f"{len(undone)} part{plural} could not be compared", result, lines, DRIFTED)
    busy = sum(one["moving"] for one in run["comparisons"])
    rest = f" ({busy:,} records changed all the time, and were left out)" if busy else ""
    return Verdict(f"everything is in step{rest}", result, lines)


def _parts(run: dict[str, Any]) -> Iterator[str]:
    for one in run["comparisons"]:
        yield f"  {one['subject']} in {one['system']}: {described(one)}"


def described(one: dict[str, Any]) -> str:
    """One comparison, as people read it."""
    if one["state"] in ("skipped", "failed"):
        return f"{one['state']}: {one['why']}"
    if one["state"] != "done":
        of = f" of about {one['estimate']:,}" if one["estimate"] else ""
        return f"{one['state']}, {one['rows']:,} rows{of}, {one['rows_per_second']:,.0f} rows/s"
    drift = [f"{one[kind]:,} {kind}" for kind in _NOT_IN_STEP if one[kind]]
    known = [f"{count:,} {why}" for why, count in sorted(one["known"].items())]
    known += [f"{one['moving']:,} moving"] if one["moving"] else []
    verdict = ", ".join(drift) if drift else "in step"
    beside = f" (beside: {', '.join(known)})" if known else ""
    return f"{one['records']:,} records, {verdict}{beside}"


def _differences(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        key = key_text(one["key"]) if one["key"] else "a row without a key that cdcd can tell"
        fields = f": {', '.join(one['fields'])}" if one["fields"] else ""
        cause = f" ({one['cause']})" if one["cause"] else ""
        yield f"    {one['kind']:<9} {one['entity']} {key} in {one['system']}{fields}{cause}"
        for field, (held, should) in one.get("values", {}).items():
            yield f"        {field}: {_value(held)}, should be {_value(should)}"


def _value(value: Any) -> str:
    """As one line of it, without what a terminal would obey."""
    text = "NULL" if value is None else str(value) if isinstance(value, str) else repr(value)
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def _add_values(config: Path, differences: list[dict[str, Any]]) -> None:
    """To those that differ, what their fields hold now, and should; not where the daemon does not say which row it is."""
    from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads adapters
    from cdcd.verifying import showing  # noqa: PLC0415

    named = {
        (one["entity"], one["system"], bytes.fromhex(one["row_id_hex"])): one
        for one in differences
        if one["kind"] == "different" and one["row_id_hex"]
    }
    if not named:
        return
    found = showing.values(blueprint.draw(config_rules.load(config), str(config)), named)
    for at, fields in found.items():
        one = named[at]
        one["values"] = {name: fields[name] for name in one["fields"] if name in fields}


def _list(config: Path) -> Verdict:
    found = daemon.ask(config, "verifications")
    under_way = [run for run in found["runs"] if run["state"] in ("waiting", "running", "paused")]
    lines = [line for run in found["runs"] for line in _run_lines(run)]
    lines += [_standing(standing) for standing in found["standings"]]
    return Verdict(f"{len(under_way)} verifications are under way", found, lines)


def _run_lines(run: dict[str, Any]) -> Iterator[str]:
    whose = " by schedule" if run["scheduled"] else ""
    drift = f", {run['drift']:,} not in step" if run["drift"] else ""
    yield f"verification {run['run']} of {_moment(run['asked_at_us'])}{whose}: {run['state']}{drift}"
    if run["state"] in ("running", "paused"):
        yield from _parts(run)


def _standing(standing: dict[str, Any]) -> str:
    drift = [f"{standing[kind]:,} {kind}" for kind in _NOT_IN_STEP if standing[kind]]
    last = standing["last_success_at_us"]
    in_step = f", last in step {_moment(last)}" if drift and last else ""
    return (
        f"{standing['subject']} in {standing['system']}: {', '.join(drift) or 'in step'}, {standing['records']:,} records,"
        f" {_moment(standing['last_run_at_us'])}{in_step}"
    )


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%F %T}"


def _change(config: Path, wish: Wish, change: str) -> Verdict:
    result = daemon.ask(config, "verify-change", change=change, entities=list(wish.entities))
    done = {"pause": "stops after the rows in work", "resume": "goes on", "cancel": "has ended"}[change]
    return Verdict(f"verification {', '.join(map(str, result['runs']))} {done}", result)


# ---- repairing -----------------------------------------------------------------------------------------------------


def _repair(config: Path, wish: Wish, run: int | None, *, dry_run: bool, yes: bool) -> Verdict:
    """Put right what a run has found, or what is found now."""
    if run is None:
        run = int(daemon.ask(config, "verify", **_arguments(config, wish))["run"])
        if not _watched(config, run, wish):
            return Verdict(f"verification {run} goes on; 'cdcd verify --show {run} --repair' puts right what it finds")
    plan = daemon.ask(config, "verify-repair", run=run, dry_run=True)
    lines = [*_differences(_asked(config, run, wish.limit)["differences"]), *_repair_lines(plan)]
    if not (plan["told"] or plan["read"]):
        return Verdict("there is nothing to put right", plan, lines)
    if dry_run:
        return Verdict("nothing was done", plan, lines)
    if not yes:
        confirm("what differs is to be put right", lines, wish.as_json)
    result = daemon.ask(config, "verify-repair", run=run, dry_run=False)
    return Verdict("what differs is being put right; 'cdcd verify' says whether it is", result, lines)


def _repair_lines(plan: dict[str, Any]) -> Iterator[str]:
    for one in plan["told"]:
        yield f"  {one['system']} is told {one['records']:,} records of {one['entity']} anew"
    for one in plan["read"]:
        yield f"  {one['rows']:,} rows of {one['table']} in {one['system']} are read again: what {one['system']} owns counts"
    if plan["left"]:
        yield f"  {plan['left']:,} are left: 'cdcd resync ENTITY --system SYSTEM' reads all its tables, and mends all"
