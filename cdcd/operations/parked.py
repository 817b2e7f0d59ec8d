"""`parked`: what an operator wants with records that a target has refused."""

from __future__ import annotations

import base64
import binascii
import logging
from typing import Final, TypeVar

import msgspec

from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, target
from cdcd.parking import wishes as parked_wishes
from cdcd.parking.wishes import Wish
from cdcd.resolve.correcting import Correction

T = TypeVar("T")
_log: Final = logging.getLogger("cdcd.operations")


def _wish(desk: Desk, arguments: Arguments) -> Answer:
    """Leave a wish (see `cdcd.parking.wishes`) for a target's deliverer, encoded by `packed`."""
    name = target(desk, arguments)
    wish = unpacked(arguments.get("wish"), Wish)
    parked_wishes.put(desk.directory.deliver(name), wish)
    role = Role("deliver", name)
    desk.crew.ring(role)
    subjects = wish.chosen.subjects
    count = "all chosen" if subjects is None else len(subjects)
    _log.warning("parked records: asked by an operator", extra={"system": name, "what": wish.verb, "count": count})
    return Answer(ok=True, result={"system": name, "verb": wish.verb, "state": desk.crew.state(role)})


def _edit(desk: Desk, arguments: Arguments) -> Answer:
    """Correct a record of an entity: resolve carries it out (see `cdcd.resolve.correcting`)."""
    correction = unpacked(arguments.get("correction"), Correction)
    target(desk, {"system": correction.system})
    seq = desk.journal.command(Command("edit", {"correction": correction}))
    extra = {"system": correction.system, "entity": correction.entity, "fields": len(correction.values), "seq": seq}
    _log.warning("a record is corrected by an operator", extra=extra)
    desk.ring("resolve")
    role = Role("deliver", correction.system)
    return Answer(ok=True, result={"seq": seq, "state": desk.crew.state(role)})


def packed(value: msgspec.Struct) -> str:
    """The form in which keys and values of all types cross the control socket."""
    return base64.b64encode(msgspec.msgpack.encode(value)).decode()


def unpacked(text: object, kind: type[T]) -> T:
    """The opposite of `packed`. Raises RequestError."""
    try:
        return msgspec.msgpack.decode(base64.b64decode(str(text), validate=True), type=kind)
    except (msgspec.DecodeError, binascii.Error) as error:
        raise RequestError("the request is not understood", cause=type(error).__name__) from error


VERBS: Final[dict[str, Verb]] = {"parked": _wish, "parked-edit": _edit}
