"""`verify`: what is asked for is written down in `verify.db`, where the verifying process finds it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from cdcd.control import Answer
from cdcd.errors import Unavailable
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.resolve.keys import decode_key
from cdcd.resolve.plan import root_of
from cdcd.sensitive import Masks
from cdcd.verifying import repair, timetable
from cdcd.verifying.results import Asked, Results, Run, path_in

_log: Final = logging.getLogger("cdcd.operations")


def _verify(desk: Desk, arguments: Arguments) -> Answer:
    if not desk.running:
        raise Unavailable(
            "the daemon is not running",
            code="not-running",
            cause="what is on its way cannot arrive, so nothing could be said",
            remedy="start it: systemctl start cdcd (or 'cdcd run')",
        )
    plan = desk.blueprint.plan()
    asked = _asked(desk, arguments)
    parts = timetable.parts(plan, asked.subjects, asked.systems)
    if asked.keys or asked.where:
        parts = [part for part in parts if part[0] in asked.subjects]
    if not parts:
        raise RequestError("nothing of that is in these systems", remedy="'cdcd status' names entities and systems")
    with closing(_results(desk)) as results:
        run = results.ask(asked, parts)
    _log.info("verification by an operator", extra={"run": run, "parts": len(parts)})
    return Answer(ok=True, result={"run": run, "parts": [list(part) for part in parts]})


def _asked(desk: Desk, arguments: Arguments) -> Asked:
    subjects = [named("entity", name, desk.blueprint.config.entities) for name in arguments.get("entities") or ()]
    systems = [named("system", name, desk.blueprint.systems) for name in arguments.get("systems") or ()]
    keys = [bytes.fromhex(key) for key in arguments.get("keys") or ()]
    where = str(arguments.get("where") or "")
    if (keys or where) and len(subjects) != 1:
        raise RequestError("single records are those of one entity", remedy="name the entity")
    if where and len(systems) != 1:
        raise RequestError("a condition is about the rows of one system", remedy="add --system SYSTEM")
    everything = tuple(desk.blueprint.config.entities)
    return Asked(tuple(subjects) or everything, tuple(systems), tuple(keys), where)


def _results(desk: Desk) -> Results:
    return Results(path_in(desk.directory.path))


# ---- what is under way, and was found -------------------------------------------------------------------------------


def _list(desk: Desk, arguments: Arguments) -> Answer:
    """The runs, or one of them with its differences; and how everything stands."""
    if not path_in(desk.directory.path).exists():
        return Answer(ok=True, result={"runs": [], "standings": [], "differences": []})
    with closing(_results(desk)) as results:
        runs = results.runs()
        number = arguments.get("run")
        chosen = [run for run in runs if run.id == number] if number is not None else runs
        if number is not None and not chosen:
            raise _forgotten(number)
        limit = int(arguments.get("limit", 0))
        masks = Masks(desk.blueprint.plan(), desk.directory.path)
        found = _differences(masks, results, chosen[0], limit) if number is not None else []
        return Answer(
            ok=True,
            result={
                "runs": [_run(run) for run in chosen],
                "standings": [msgspec.structs.asdict(standing) for standing in results.standings()],
                "differences": found,
            },
        )


def _run(run: Run) -> dict[str, Any]:
    asked = {"entities": run.asked.subjects, "systems": run.asked.systems, "scheduled": run.asked.scheduled}
    return {
        "run": run.id,
        **asked,
        "whole": run.asked.is_whole,
        "state": "paused" if run.paused else run.state,
        "asked_at_us": run.asked_at_us,
        "ended_at_us": run.ended_at_us,
        "drift": run.drift,
        "comparisons": [
            {**msgspec.structs.asdict(c), "rows_per_second": round(c.rows_per_second, 1)} for c in run.comparisons
        ],
    }


def _differences(masks: Masks, results: Results, run: Run, limit: int) -> list[dict[str, Any]]:
    """The keys as people are shown them; as bytes only where nothing of them is hidden."""
    found = []
    for place, comparison in enumerate(run.comparisons):
        entity = masks.plan.entities.get(comparison.subject)
        source, _, table = comparison.subject.partition(":")
        is_hidden = any(masks.key_parts(entity.name)) if entity is not None else bool(masks.columns(source, table))
        for difference in results.differences(run.id, place, limit):
            parts = decode_key(difference.key, entity.key_width) if entity is not None and difference.key else []
            key = list(masks.key(entity, parts)) if entity is not None and parts else []
            found.append(
                {
                    "entity": comparison.subject,
                    "system": comparison.system,
                    "kind": difference.kind,
                    "key": key,
                    "key_hex": "" if is_hidden else difference.key.hex(),
                    "row_id_hex": "" if is_hidden else difference.row_id.hex(),
                    "fields": difference.fields,
                    "cause": difference.cause,
                }
            )
    return found


def _forgotten(number: object) -> RequestError:
    return RequestError(
        f"there is no verification {number}", cause="only the last ones are remembered", remedy="cdcd verify --list"
    )


def _change(desk: Desk, arguments: Arguments) -> Answer:
    """Pause, resume or cancel: one run, or all of an entity that are under way, or just all."""
    what = named("change", arguments.get("change"), ("pause", "resume", "cancel"))
    with closing(_results(desk)) as results:
        changed = [run.id for run in _under_way(desk, results, arguments) if _changed(results, run.id, what)]
    if not changed:
        raise RequestError("nothing is being verified", remedy="cdcd verify --list", code="verify-none")
    _log.info("verification changed by an operator", extra={"runs": len(changed), "change": what})
    return Answer(ok=True, result={"runs": changed, "change": what})


def _changed(results: Results, run: int, what: str) -> bool:
    return results.cancel(run) if what == "cancel" else results.pause(run, on=what == "pause")


def _under_way(desk: Desk, results: Results, arguments: Arguments) -> Sequence[Run]:
    wanted = {named("entity", name, desk.blueprint.config.entities) for name in arguments.get("entities") or ()}
    found = [run for run in results.runs() if run.state in ("waiting", "running")]
    return [run for run in found if not wanted or wanted & {root_of(name) for name in run.asked.subjects}]


# ---- repairing -----------------------------------------------------------------------------------------------------


def _repair(desk: Desk, arguments: Arguments) -> Answer:
    """Put right what a run has found, as far as it is listed."""
    number = arguments.get("run")
    with closing(_results(desk)) as results:
        run = results.run(number) if isinstance(number, int) else None
        if run is None:
            raise _forgotten(number)
        plan = desk.blueprint.plan()
        found = [(c, results.differences(run.id, place)) for place, c in enumerate(run.comparisons)]
    planned = [step for comparison, listed in found for step in repair.steps(plan, comparison, listed)]
    told = [{"system": s.system, "entity": s.entity, "records": s.records} for s in planned if s.copy is None]
    read = [{"system": s.system, "table": s.copy.table, "rows": s.records} for s in planned if s.copy is not None]
    left = sum(comparison.drift for comparison, _ in found) - sum(step.records for step in planned)
    result = {"run": run.id, "told": told, "read": read, "left": left}
    if arguments.get("dry_run") is not True:
        _refuse_tables_being_read(desk, planned)
        for step in planned:
            desk.journal.command(step.command, [] if step.copy is None else [step.copy])
        _log.warning("repair by an operator", extra={"run": run.id, "records": sum(s.records for s in planned)})
        desk.ring("resolve", "capture")
    return Answer(ok=True, result=result)


def _refuse_tables_being_read(desk: Desk, planned: Sequence[repair.Step]) -> None:
    for copy in (step.copy for step in planned if step.copy is not None):
        if any(known.table == copy.table and not known.done for known in desk.journal.backfills(copy.source)):
            raise RequestError(
                f"table {copy.table} of {copy.source} is being read already",
                remedy="wait for it: cdcd resync --list",
                code="resync-under-way",
            )


VERBS: Final[dict[str, Verb]] = {
    "verify": _verify,
    "verifications": _list,
    "verify-change": _change,
    "verify-repair": _repair,
}
