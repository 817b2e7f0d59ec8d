"""What a person can do on the secured page: the verbs of the command line, over the same control socket.

Each is looked at first: a plan says in sentences what would come of it, and nothing has been done.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final, TypeAlias

import msgspec

from cdcd import control
from cdcd.operations.desk import RequestError, named
from cdcd.operations.parked import packed
from cdcd.parking.listing import Names, ParkedFile
from cdcd.parking.wishes import Chosen, Wish
from cdcd.report import now_us
from cdcd.sensitive import Masks
from cdcd.state import State
from cdcd.web.daemon import Daemon
from cdcd.web.records import translating
from cdcd.web.wording import counted

Arguments: TypeAlias = Mapping[str, str]
_PARKED_OPTIONS: Final = {"system": "--system", "entity": "--entity", "code": "--reason"}


class Plan(msgspec.Struct, frozen=True):
    """What an action would do: a question, sentences, and the button that does it. `command` is the same on the command line."""

    question: str
    lines: tuple[str, ...]
    button: str
    command: str


class Action(msgspec.Struct, frozen=True):
    """A verb. `arguments` are the names that it takes, the first is needed."""

    arguments: tuple[str, ...]
    plan: Callable[[Daemon, Arguments], Plan]
    carry_out: Callable[[Daemon, Arguments], str]


def chosen(verb: str, given: Mapping[str, str]) -> tuple[Action, dict[str, str]]:
    """The action of that name with those of the given arguments that it takes. Raises RequestError."""
    action = ACTIONS.get(verb)
    if action is None:
        raise RequestError(f"there is no action {verb!r}", remedy=f"there are: {', '.join(ACTIONS)}")
    arguments = {name: given[name] for name in action.arguments if given.get(name)}
    if action.arguments[0] not in arguments:
        raise RequestError(f"{verb} of what?", remedy=f"name {action.arguments[0]}")
    return action, arguments


def _ask(daemon: Daemon, command: str, **arguments: Any) -> Any:
    return control.ask(daemon.directory.control_socket, command, arguments)


def _joined(names: list[str]) -> str:
    return ", ".join(names)


def _line(*words: str | None) -> str:
    """A command line. Names hold no character that a shell would read otherwise, or they are quoted."""
    return shlex.join(["cdcd", *(word for word in words if word is not None)])


def _of_system(arguments: Arguments) -> tuple[str, ...]:
    return ("--system", arguments["system"]) if "system" in arguments else ()


# ---- pause and resume --------------------------------------------------------------------------------------------


def _plan_pause(daemon: Daemon, arguments: Arguments) -> Plan:
    name = arguments["name"]
    found = _ask(daemon, "pause", name=name, system=arguments.get("system"), dry_run=True)
    if "entity" in found:
        lines = (
            f"{name} is held back from {_joined(found['systems'])}; everything else flows.",
            "When it goes on, each record that changed meanwhile is told once, as it is then.",
        )
        question = f"Hold back {name}?"
    else:
        lines = (
            f"Delivery to {name} stops when the batch in work is committed.",
            f"{counted(found['waiting_writes'], 'write')} wait for it now. Changes go on being captured, and wait.",
        )
        question = f"Pause delivery to {name}?"
    return Plan(question, (*lines, "It stays so over restarts, until somebody resumes it."), "Pause", _pause(arguments))


def _pause(arguments: Arguments) -> str:
    return _line("pause", arguments["name"], *_of_system(arguments))


def _do_pause(daemon: Daemon, arguments: Arguments) -> str:
    name = arguments["name"]
    found = _ask(daemon, "pause", name=name, system=arguments.get("system"), dry_run=False)
    if "entity" in found:
        return f"{name} is held back from {_joined(found['systems'])}."
    if found["paused"]:
        return f"Delivery to {name} is paused."
    return f"Delivery to {name} pauses after the batch in work ({found['state']})."


def _plan_resume(daemon: Daemon, arguments: Arguments) -> Plan:
    found = _ask(daemon, "resume", name=arguments["name"], system=arguments.get("system"), dry_run=True)
    command = _line("resume", arguments["name"], *_of_system(arguments))
    return Plan(f"Resume {arguments['name']}?", _resumed(found, arguments["name"], would=True), "Resume", command)


def _do_resume(daemon: Daemon, arguments: Arguments) -> str:
    found = _ask(daemon, "resume", name=arguments["name"], system=arguments.get("system"), dry_run=False)
    return " ".join(_resumed(found, arguments["name"], would=False))


def _resumed(found: dict[str, Any], name: str, *, would: bool) -> tuple[str, ...]:
    if "entity" in found:
        owed, where = found["owed_records"], _joined(found["systems"])
        no_more = "would be held back no more" if would else "is held back no more"
        first = f"{name} {no_more if found['was_paused'] else 'is not held back'} from {where}."
        told = f"{counted(owed, 'record')} owed {'is' if owed == 1 else 'are'} told then, as the schedule allows."
        return (first, told) if owed else (first,)
    goes_on = "would go on" if would else "goes on"
    first = f"Delivery to {name} {goes_on if found['was_paused'] else 'is not paused'}."
    restarted = _joined(found["restarted"])
    return (first, f"Tried again at once: {restarted}.") if restarted else (first,)


# ---- deliver now -------------------------------------------------------------------------------------------------


def _plan_deliver(daemon: Daemon, arguments: Arguments) -> Plan:
    found = _ask(daemon, "deliver", entity=arguments["entity"], system=arguments.get("system"), dry_run=True)
    lines = tuple(
        f"{one['system']} ({one['schedule']}): {counted(one['records'], 'record')} owed"
        + (", paused: left alone" if one["state"] == "paused" else "")
        for one in found["deliveries"]
    )
    command = _line("deliver", arguments["entity"], *_of_system(arguments))
    return Plan(f"Deliver what is owed of {arguments['entity']} now?", lines, "Deliver now", command)


def _do_deliver(daemon: Daemon, arguments: Arguments) -> str:
    found = _ask(daemon, "deliver", entity=arguments["entity"], system=arguments.get("system"), dry_run=False)
    records = sum(one["records"] for one in found["deliveries"] if one["state"] == "told")
    return f"{counted(records, 'record')} of {arguments['entity']} {'is' if records == 1 else 'are'} being told."


# ---- resync ------------------------------------------------------------------------------------------------------


def _resync_arguments(arguments: Arguments) -> dict[str, Any]:
    return {"systems": [arguments["system"]]} if "system" in arguments else {}


def _plan_resync(daemon: Daemon, arguments: Arguments) -> Plan:
    entity = arguments["entity"]
    found = _ask(daemon, "resync", entity=entity, dry_run=True, **_resync_arguments(arguments))
    lines = []
    for system, table in found["tables"]:
        rows = found["rows"].get(f"{system}:{table}", 0)
        about = f", about {counted(rows, 'row')}" if rows else ""
        again = ", which is being read already and begins anew" if [system, table] in found["begun_anew"] else ""
        lines.append(f"{system}: {table} is read again{about}{again}.")
    if ":" in entity:
        lines.append("The copy is emptied and filled anew: until then its rows are missing at the target.")
    else:
        lines.append("What differs is mended by ownership; changes go on flowing.")
    command = _line("resync", entity, *_of_system(arguments))
    return Plan(f"Read {entity} again and compare?", tuple(lines), "Resync", command)


def _do_resync(daemon: Daemon, arguments: Arguments) -> str:
    found = _ask(daemon, "resync", entity=arguments["entity"], dry_run=False, **_resync_arguments(arguments))
    return f"The resync of {arguments['entity']} has begun: {counted(len(found['tables']), 'table')}."


# ---- parked records ----------------------------------------------------------------------------------------------


def _plan_retry(daemon: Daemon, arguments: Arguments) -> Plan:
    numbers = _numbers(daemon, arguments)
    with translating(), closing(ParkedFile(daemon.directory, arguments["system"])) as file:
        count = sum(count for _, _, count in file.counts(numbers, arguments.get("code")))
    which = " ".join(filter(None, (arguments.get("entity"), arguments.get("code") and f"[{arguments['code']}]")))
    lines = (
        f"{counted(count, 'parked record')} {f'of {which} ' if which else ''}would be told to {arguments['system']} again.",
        "What is refused once more stays parked.",
    )
    words = [f"{option}={arguments[name]}" for name, option in _PARKED_OPTIONS.items() if name in arguments]
    command = _line("parked", "retry", "--all", *words)
    return Plan(f"Try {counted(count, 'parked record')} again?", lines, "Try again", command)


def _do_retry(daemon: Daemon, arguments: Arguments) -> str:
    chosen_records = Chosen(None, _numbers(daemon, arguments), arguments.get("code"))
    wish = packed(Wish("retry", now_us(), chosen_records))
    found = _ask(daemon, "parked", system=arguments["system"], wish=wish)
    idle = "" if found["state"] == "running" else f" as soon as delivery, which is {found['state']}, goes on"
    return f"The parked records are tried again{idle or ' now'}."


def _numbers(daemon: Daemon, arguments: Arguments) -> list[int] | None:
    """By which numbers the deliverer knows the entity that is meant; None: all. Raises RequestError."""
    blueprint = daemon.blueprint()
    system = named("target", arguments["system"], blueprint.targets)
    if not daemon.directory.deliver(system).exists():
        raise RequestError(f"nothing was ever delivered to {system}", remedy="cdcd status")
    if "entity" not in arguments:
        return None
    with translating(), closing(State(daemon.directory.state, read_only=True)) as state:
        vocabulary = state.get("vocabulary") or b""
    plan = msgspec.structs.replace(blueprint, vocabulary=vocabulary).plan()
    names = Names(Masks(plan, daemon.directory.path))
    numbers = names.numbers(arguments["entity"], system)
    if not numbers:
        named("entity", arguments["entity"], names.known())
    return numbers


ACTIONS: Final[dict[str, Action]] = {
    "pause": Action(("name", "system"), _plan_pause, _do_pause),
    "resume": Action(("name", "system"), _plan_resume, _do_resume),
    "deliver": Action(("entity", "system"), _plan_deliver, _do_deliver),
    "resync": Action(("entity", "system"), _plan_resync, _do_resync),
    "retry": Action(("system", "entity", "code"), _plan_retry, _do_retry),
}
