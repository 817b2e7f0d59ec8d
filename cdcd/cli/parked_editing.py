"""`cdcd parked edit`: the values of a parked record in an editor, and what is made of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from cdcd.cli import daemon
from cdcd.cli.output import Verdict
from cdcd.cli.parked import ParkedError
from cdcd.cli.parked_deciding import Ask, outcome, waited_for
from cdcd.cli.parked_showing import Desk, not_parked, opened, plain_value, printable, statement_of, value
from cdcd.folding.copies import decode_kept
from cdcd.operations.parked import packed
from cdcd.parking.listing import Found, Names, Wanted, find
from cdcd.parking.statement import Previewer, ShownField
from cdcd.parking.text import Mistake, editable, from_text, to_text
from cdcd.parking.wishes import Chosen, Wish
from cdcd.record_names import key_names, key_text
from cdcd.report import now_us
from cdcd.resolve.correcting import Correction, digest
from cdcd.resolve.verdicts import outcome_of
from cdcd.sensitive import masked
from cdcd.values import ValueType, parse_type

_HOW: Final = (
    "One line for each field, its value as JSON: texts in double quotes, null for no value. Save and leave the editor to go"
    " on, leave it without saving to change nothing."
)
REQUEST_CHARACTERS_MAX: Final = 60_000
"""What fits into one request to the daemon."""


def edited(config: Path, wanted: Wanted, *, dry_run: bool, ask: Ask | None) -> Verdict:
    """Have a person edit a parked record, show the difference, and hand it in."""
    with opened(config, wanted) as desk:
        one = _the_one(desk, wanted)
        session = _Session(desk, one)
        changed = session.edit()
        lines = [session.difference(name, new) for name, new in changed.items()]
        result = {
            "changed": {name: plain_value(session.shown(name, new)) for name, new in changed.items()},
            "system": one.system,
        }
        if not changed:
            return Verdict("nothing was changed", result)
        if dry_run:
            return Verdict("nothing was done", result | {"dry_run": True}, lines)
        if ask is not None:
            ask("write these values", lines)
        return session.hand_in(config, changed, lines, result)


def _the_one(desk: Desk, wanted: Wanted) -> Found:
    found = list(find(desk.files, desk.masks, wanted))
    if not found:
        raise not_parked(wanted)
    if len(found) > 1:
        systems = ", ".join(one.system for one in found)
        raise ParkedError(f"it is parked for {systems}", remedy="name one with --system")
    return found[0]


class _Session:
    """One record being edited."""

    def __init__(self, desk: Desk, one: Found) -> None:
        self._desk = desk
        self._one = one
        self._previewer = Previewer(desk.masks, desk.state, one.system, desk.file(one.system).shapes())
        statement = statement_of(desk, one)
        self._fields = {f.field: f for f in editable(statement.fields, self._fixed())}
        self._kinds = self._types()
        if not self._fields:
            raise ParkedError(
                "there are no values to edit", cause="the record is to be deleted there, or its table is not known yet"
            )

    def _fixed(self) -> list[str]:
        """What cannot be edited: keys, and totals that several systems add to."""
        number = self._one.subject[0]
        if number < 0:
            shape = self._desk.file(self._one.system).shapes().get(Names(self._desk.masks).route(number).target_table)
            return [] if shape is None else list(shape.primary_key)
        entity = Names(self._desk.masks).entity(number)
        sums = [field.name for field in entity.fields if field.owner == "sum"]
        return [*key_names(self._desk.plan, entity), *sums]

    def _types(self) -> Mapping[str, ValueType]:
        """The types of the values, of a reference that of the key it holds."""
        return {name: self._desk.plan.plain_type(parse_type(f.type)) for name, f in self._fields.items()}

    # ---- in the editor ---------------------------------------------------------------------------------------

    def edit(self) -> dict[str, Any]:
        """What the person has changed, by field; understood, and found to fit."""
        text = to_text(list(self._fields.values()), self._about())
        while True:
            written = click.edit(text, extension=".txt")
            if written is None:
                return {}
            changed, wrong = from_text(written, list(self._fields.values()), self._kinds)
            wrong = wrong or self._misfits(changed)
            if not wrong:
                return changed
            self._again(wrong)
            text = written

    def _about(self) -> list[str]:
        one = self._one
        return [
            f"{one.entity} {printable(key_text(one.key))}, parked for {one.system}: {one.parked.code}",
            printable(one.parked.cause),
            "",
            _HOW,
        ]

    def _misfits(self, changed: dict[str, Any]) -> list[Mistake]:
        """Whether the new values fit the target's columns."""
        if not changed:
            return []
        if self._one.parked.row is not None:
            misfit = self._previewer.row(self._one.subject, self._kept(changed)).misfit
        else:
            number, key = self._one.subject
            by_slot = {slot: new for name, new in changed.items() if (slot := self._fields[name].slot) is not None}
            misfit = self._previewer.record(Names(self._desk.masks).entity(number), key, by_slot).misfit
        return [Mistake("the record", misfit)] if misfit else []

    def _again(self, wrong: list[Mistake]) -> None:
        lines = [f"{mistake.field}: {mistake.why}" for mistake in wrong]
        if not sys.stdin.isatty():
            raise ParkedError("the values cannot be taken", cause="; ".join(lines), remedy="edit again")
        for line in lines:
            click.echo(line, err=True)
        if not click.confirm("Edit again?", default=True):
            raise ParkedError("nothing was done", code="declined")

    def difference(self, name: str, new: Any) -> str:
        """What changes of a field."""
        field = self._fields[name]
        return f"  {name}: {value(field.shown)} -> {value(self.shown(name, new))}{_told(field)}"

    def shown(self, name: str, new: Any) -> Any:
        """What people are shown of a field's new value: not even who typed it sees it again."""
        return masked(new, hidden=self._fields[name].hidden)

    # ---- handing in ------------------------------------------------------------------------------------------

    def _kept(self, changed: dict[str, Any]) -> bytes:
        assert self._one.parked.row is not None
        row = decode_kept(self._one.parked.row)
        values = [changed.get(name, old) for name, old in zip(row.columns, row.values, strict=True)]
        return msgspec.structs.replace(row, values=values).encode()

    def hand_in(self, config: Path, changed: dict[str, Any], lines: list[str], result: dict[str, Any]) -> Verdict:
        """Give it to the deliverer, or to resolve; wait a moment for what comes of it."""
        one = self._one
        if one.parked.row is not None:
            wish = Wish("edit", now_us(), Chosen([one.subject]), self._kept(changed), one.parked.row)
            sent = daemon.ask(config, "parked", system=one.system, wish=_fitting(packed(wish)))
        else:
            values = {
                slot: (digest(self._fields[name].value), new)
                for name, new in changed.items()
                if (slot := self._fields[name].slot) is not None
            }
            correction = packed(Correction(one.system, *one.subject, values))
            sent = daemon.ask(config, "parked-edit", correction=_fitting(correction))
        return self._came_of_it(sent, lines, result)

    def _came_of_it(self, sent: dict[str, Any], lines: list[str], result: dict[str, Any]) -> Verdict:
        states = {self._one.system: str(sent["state"])}
        if "seq" in sent and waited_for(states, lambda: outcome_of(self._desk.state, sent["seq"]) is not None):
            came = outcome_of(self._desk.state, sent["seq"])
            if came is not None and not came.settled:
                raise ParkedError(
                    "the record has changed meanwhile", code="changed", remedy="look again, and edit again"
                )
        verdict = outcome(self._desk, "edit", [self._one], states)
        listed = [*lines, *verdict.lines]
        return Verdict(f"corrected; {verdict.summary}", result | verdict.result, listed, verdict.exit_code)


def _fitting(text: str) -> str:
    if len(text) > REQUEST_CHARACTERS_MAX:
        raise ParkedError(
            "the values are too large to be sent to the daemon",
            cause=f"a request holds {REQUEST_CHARACTERS_MAX:,} characters",
            remedy="correct them in the system that owns them",
        )
    return text


def _told(field: ShownField) -> str:
    if field.slot is None:
        return ""
    return f"  (owned by {field.owner}, which is told as well)" if field.owner not in ("nobody", "latest") else ""
