"""`cdcd parked list` and `show`: what is parked, read from the state directory, whether the daemon runs or not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd import config_rules
from cdcd.blueprint import draw
from cdcd.cli.output import Verdict
from cdcd.cli.parked import ParkedError
from cdcd.folding.copies import decode_kept
from cdcd.folding.folded import KeptRow
from cdcd.model import ABSENT
from cdcd.parking.listing import Found, Names, ParkedFile, Wanted, find, summary
from cdcd.parking.statement import Previewer, ShownField, Statement
from cdcd.record_names import key_text
from cdcd.report import now_us
from cdcd.resolve.plan import Plan
from cdcd.sensitive import Masks, masked
from cdcd.state import State
from cdcd.state_directory import StateDirectory

VALUE_CHARACTERS: Final = 200
GROUPS_MAX: Final = 20


class Desk(msgspec.Struct, frozen=True):
    """What is open while a command looks at parked records. `files` are those of targets that were ever delivered to."""

    masks: Masks
    state: State
    files: list[ParkedFile]

    @property
    def plan(self) -> Plan:
        """The configuration compiled, with the numbers that the state has."""
        return self.masks.plan

    def file(self, system: str) -> ParkedFile:
        """The file of a target."""
        return next(file for file in self.files if file.system == system)


class _Before(msgspec.Struct, frozen=True):
    """A row of a plain copy before it was edited or discarded, by column, as people are shown it."""

    what: str
    at_us: int
    values: dict[str, Any]


@contextmanager
def opened(config: Path, wanted: Wanted) -> Iterator[Desk]:
    """Open the state directory to read it. Raises ParkedError for an entity or system that there is not."""
    loaded = config_rules.load(config)
    blueprint = draw(loaded, str(config))
    directory = StateDirectory(Path(loaded.daemon.state_dir))
    directory.require(directory.state)
    state = State(directory.state, read_only=True)
    files: list[ParkedFile] = []
    try:
        vocabulary = state.get("vocabulary") or b""
        plan = msgspec.structs.replace(blueprint, vocabulary=vocabulary).plan()
        masks = Masks(plan, directory.path)
        _check(masks, blueprint.targets, wanted)
        files += [ParkedFile(directory, name) for name in blueprint.targets if directory.deliver(name).exists()]
        yield Desk(masks, state, files)
    finally:
        state.close()
        for file in files:
            file.close()


def _check(masks: Masks, targets: Sequence[str], wanted: Wanted) -> None:
    import difflib  # noqa: PLC0415 - only for a hint

    known = Names(masks).known()
    is_copy = wanted.entity is not None and ":" in wanted.entity
    names = [("entity", None if is_copy else wanted.entity, known), ("target", wanted.system, targets)]
    if is_copy and not any(Names(masks).numbers(str(wanted.entity), system) for system in targets):
        names.append(("plain copy", wanted.entity, known))
    for what, name, all_known in names:
        if name is not None and name not in all_known:
            near = difflib.get_close_matches(name, all_known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(all_known) or 'none'}"
            raise ParkedError(f"unknown {what} {name!r}", remedy=hint)


# ---- list ------------------------------------------------------------------------------------------------------


def listed(config: Path, wanted: Wanted, limit: int) -> Verdict:
    """The list, and what there is of each kind."""
    with opened(config, wanted) as desk:
        found = sorted(find(desk.files, desk.masks, wanted, limit), key=lambda one: one.parked.since_us)[:limit]
        counts = summary(desk.files, desk.masks, wanted)
        waiting = [file.system for file in desk.files if file.has_open_wishes()]
    total = sum(counts.values())
    groups = [f"{count:,} of {entity} for {system}: {code}" for (system, entity, code), count in counts.items()]
    lines = [*_table(found), *([""] if found and groups else []), *groups[:GROUPS_MAX]]
    lines += [f"an operator's wish for {system} is not carried out yet" for system in waiting]
    more = f", {len(found):,} shown (--limit)" if total > len(found) else ""
    result = {
        "records": [plain(one) for one in found],
        "groups": [{"system": s, "entity": e, "code": c, "count": n} for (s, e, c), n in counts.items()],
        "count": total,
        "wishes_open": waiting,
    }
    return Verdict(f"{total:,} parked record{'' if total == 1 else 's'}{more}", result, lines)


def _table(found: Sequence[Found]) -> list[str]:
    rows = [
        (
            one.entity or "?",
            printable(key_text(one.key)),
            one.system,
            one.parked.code,
            moment(one.parked.since_us),
            f"{one.parked.attempts:,}",
            f"{one.parked.waiting:,}",
        )
        for one in found
    ]
    heads = ("entity", "key", "system", "reason", "since", "attempts", "waiting")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return [line.rstrip() for line in lines] if rows else []


def plain(one: Found) -> dict[str, Any]:
    """A parked record for programs."""
    parked = one.parked
    return {
        "entity": one.entity,
        "key": [plain_value(part) for part in one.key],
        "system": one.system,
        "code": parked.code,
        "cause": parked.cause,
        "since": _iso(parked.since_us),
        "attempts": parked.attempts,
        "next_try": _iso(max(parked.retry_at_us, parked.since_us)),
        "waiting": parked.waiting,
        "unit": parked.unit,
    }


# ---- show ------------------------------------------------------------------------------------------------------


def shown(config: Path, wanted: Wanted) -> Verdict:
    """A record with what would be written of it, for each target that refuses it."""
    with opened(config, wanted) as desk:
        found = list(find(desk.files, desk.masks, wanted))
        if not found:
            raise not_parked(wanted)
        statements = [statement_of(desk, one) for one in found]
        originals = [_originals(desk, one) for one in found]
    lines: list[str] = []
    for one, statement, before in zip(found, statements, originals, strict=True):
        lines += _lines(one, statement, before)
    result = [
        plain(one)
        | _plain_statement(statement)
        | {"originals": [_plain_original(o) for o in before], "next": _next(one)}
        for one, statement, before in zip(found, statements, originals, strict=True)
    ]
    return Verdict(f"parked for {', '.join(one.system for one in found)}", result, lines)


def _originals(desk: Desk, one: Found) -> list[_Before]:
    """What a row of a plain copy was before it was edited, as people are shown it."""
    found = []
    for original in desk.file(one.system).originals(one.subject):
        row: KeptRow = decode_kept(original.row)
        route = Names(desk.masks).route(one.subject[0])
        hidden = desk.masks.columns(route.source, route.source_table)
        values = {c: masked(v, hidden=c in hidden) for c, v in zip(row.columns, row.values, strict=True)}
        found.append(_Before(original.what, original.at_us, values))
    return found


def not_parked(wanted: Wanted) -> ParkedError:
    """Nothing is parked by that name."""
    name = f"{wanted.entity or 'any record'} {' '.join(wanted.words)}".strip()
    if not wanted.words:
        where = f" for {wanted.system}" if wanted.system else ""
        return ParkedError(f"nothing of {name} is parked{where}", code="not-parked", remedy="see 'cdcd parked list'")
    return ParkedError(
        f"{name} is not parked" + (f" for {wanted.system}" if wanted.system else ""),
        code="not-parked",
        remedy=f"see 'cdcd parked list', or what became of it: cdcd history {name}",
    )


def statement_of(desk: Desk, one: Found) -> Statement:
    """What would be written of a parked record now."""
    previewer = Previewer(desk.masks, desk.state, one.system, desk.file(one.system).shapes())
    if one.parked.row is not None:
        return previewer.row(one.subject, one.parked.row)
    return previewer.record(Names(desk.masks).entity(one.subject[0]), one.subject[1])


def _lines(one: Found, statement: Statement, before: Sequence[_Before]) -> Iterator[str]:
    parked = one.parked
    name = f"{one.entity} {printable(key_text(one.key))}"
    yield f"{name}, parked for {one.system} since {moment(parked.since_us)}: {parked.code}"
    yield f"  {printable(parked.cause)}"
    seconds = max(0, parked.retry_at_us - now_us()) / 1e6
    tried = f"{parked.attempts:,} attempt{'' if parked.attempts == 1 else 's'}"
    behind = (
        f"{parked.waiting:,} later change{'' if parked.waiting == 1 else 's'} wait{'s' if parked.waiting == 1 else ''}"
    )
    yield f"  {tried}, the next {f'in {seconds:,.0f} s' if seconds else 'now'}; {behind} behind it"
    yield from _fields(statement.fields)
    if statement.misfit:
        yield f"  nothing can be written: {printable(statement.misfit)}"
    for write in statement.writes:
        by = f", by {', '.join(write.key)}" if write.key else ""
        looked_up = f"; {', '.join(write.found_by)} looked up there" if write.found_by else ""
        yield f"  {write.kind} {write.table}{by}{looked_up}"
        yield f"    {', '.join(f'{c} = {value(v)}' for c, v in zip(write.columns, write.values, strict=False))}"
    for original in before:
        values = ", ".join(f"{c} = {value(v)}" for c, v in original.values.items())
        yield f"  {original.what} at {moment(original.at_us)}; it was {values}"
    yield f"  next: {' | '.join(_next(one))}"


def _next(one: Found) -> list[str]:
    """What may be done with it, as commands of a shell."""
    words = f"{one.entity} {shlex.quote(printable(key_text(one.key)))} --system {one.system}"
    return [f"cdcd parked {verb} {words}" for verb in ("edit", "retry", "discard")]


def _fields(fields: Sequence[ShownField]) -> Iterator[str]:
    if not fields:
        yield "  it is to be deleted there"
        return
    rows = [
        (f.field, f.column, f.column_type or "?", value(f.shown), f.owner + (", only where new" if f.only_new else ""))
        for f in fields
    ]
    heads = ("field", "column", "of type", "value", "owner")
    widths = [min(60, max(map(len, column))) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _plain_statement(statement: Statement) -> dict[str, Any]:
    return {
        "fields": [
            {
                "field": f.field,
                "column": f.column,
                "type": f.type,
                "column_type": f.column_type or None,
                "value": plain_value(f.shown),
                "owner": f.owner,
                "only_new": f.only_new,
            }
            for f in statement.fields
        ],
        "writes": [
            {
                "table": w.table,
                "kind": w.kind,
                "key": list(w.key),
                "values": {c: plain_value(v) for c, v in zip(w.columns, w.values, strict=False)},
                "found_by": list(w.found_by),
            }
            for w in statement.writes
        ],
        "misfit": statement.misfit or None,
    }


def _plain_original(original: _Before) -> dict[str, Any]:
    values = {c: plain_value(v) for c, v in original.values.items()}
    return {"what": original.what, "at": _iso(original.at_us), "values": values}


# ---- words -----------------------------------------------------------------------------------------------------


def plain_value(found: Any) -> Any:
    """A value for programs: bytes as hexadecimal, one that nobody has told as null."""
    if found is ABSENT:
        return None
    return found.hex() if isinstance(found, bytes) else found


def value(found: Any) -> str:
    """A value on one line, as JSON, the end of a long one left out."""
    text = printable(msgspec.json.encode(plain_value(found)).decode())
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}… ({len(text):,} characters)"


def printable(text: str) -> str:
    """Without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)


def moment(at_us: int) -> str:
    """A time as people here write it."""
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()
