"""`cdcd parked retry` and `discard`: what an operator wants, left for the deliverers, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cdcd.cli import daemon
from cdcd.cli.output import Verdict
from cdcd.cli.parked_showing import Desk, not_parked, opened, plain, printable
from cdcd.operations.parked import packed
from cdcd.parking.listing import Found, Names, Wanted, find, summary
from cdcd.parking.wishes import Chosen, Verb, Wish
from cdcd.record_names import key_text
from cdcd.report import now_us

WAIT_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_LISTED: Final = 20
_DONE: Final = {"retry": "delivered", "discard": "discarded", "edit": "delivered"}
Ask = Callable[[str, Sequence[str]], None]


def decided(config: Path, verb: Verb, wanted: Wanted, *, every: bool, dry_run: bool, ask: Ask | None) -> Verdict:
    """Have records tried again, or let go. `ask` wants a confirmation, and raises where there is none."""
    with opened(config, wanted) as desk:
        found = list(islice(find(desk.files, desk.masks, wanted, _LISTED), _LISTED))
        counts = {} if wanted.words else summary(desk.files, desk.masks, wanted)
        count = sum(counts.values()) if counts else len(found)
        if not count:
            raise not_parked(wanted)
        what = f"{verb} {count:,} parked record{'' if count == 1 else 's'}"
        if dry_run:
            result = {"count": count, "records": [plain(one) for one in found], "dry_run": True}
            return Verdict(f"would {what}; nothing was done", result, _named(found, count))
        if ask is not None and (every or verb == "discard"):
            groups = ", ".join(
                f"{n:,} of {entity} for {system}: {code}" for (system, entity, code), n in counts.items()
            )
            ask(f"{what} ({groups})" if groups else what, () if groups else _named(found, count))
        states = _leave_wishes(config, desk, verb, wanted, found)
        if wanted.words:
            return outcome(desk, verb, found, states)
        return _outcome_of_many(desk, verb, count, states)


def _leave_wishes(config: Path, desk: Desk, verb: Verb, wanted: Wanted, found: Sequence[Found]) -> dict[str, str]:
    """Leave a wish for each target concerned; return the states of their deliverers."""
    asked_at_us, states = now_us(), {}
    counted = summary(desk.files, desk.masks, wanted)
    systems = {one.system for one in found} if wanted.words else {system for system, _, _ in counted}
    for system in sorted(systems):
        if wanted.words:
            chosen = Chosen([one.subject for one in found if one.system == system])
        else:
            numbers = None if wanted.entity is None else Names(desk.masks).numbers(wanted.entity, system)
            chosen = Chosen(None, numbers, wanted.code)
        answer = daemon.ask(config, "parked", system=system, wish=packed(Wish(verb, asked_at_us, chosen)))
        states[system] = str(answer["state"])
    return states


def _named(found: Sequence[Found], count: int) -> list[str]:
    lines = [f"  {_name(one)} for {one.system}: {one.parked.code}" for one in found]
    return [*lines, f"  … and {count - len(found):,} more"] if count > len(found) else lines


def _name(one: Found) -> str:
    return f"{one.entity} {printable(key_text(one.key))}"


# ---- what came of it ---------------------------------------------------------------------------------------------


def waited_for(states: dict[str, str], is_done: Callable[[], bool]) -> bool:
    """Wait a moment until the deliverers have done it; not for those that do not run."""
    until = time.monotonic() + (WAIT_SECONDS if set(states.values()) == {"running"} else 0)
    while not (done := is_done()) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return done


def outcome(desk: Desk, verb: Verb, found: Sequence[Found], states: dict[str, str]) -> Verdict:
    """What became of single records."""
    waited_for(states, lambda: not any(_is_untouched(desk, verb, one) for one in found))
    left = [one for one in found if _is_untouched(desk, verb, one)]
    refused = [one for one in found if one not in left and _attempts(desk, one) is not None]
    gone = len(found) - len(left) - len(refused)
    parts = [f"{gone:,} {_DONE[verb]}" if gone else "", f"{len(refused):,} refused again" if refused else ""]
    parts += [_noted(len(left), states) if left else ""]
    result: dict[str, Any] = {"count": len(found), _DONE[verb]: gone, "refused": len(refused), "open": len(left)}
    lines = [f"  {_name(one)}: {printable(_cause(desk, one))}" for one in refused]
    return Verdict(", ".join(filter(None, parts)), result, lines, 1 if refused else 0)


def _noted(count: int, states: dict[str, str]) -> str:
    idle = [f"delivery to {system} is {state}" for system, state in states.items() if state != "running"]
    why = f" ({', '.join(idle)})" if idle else ""
    return f"{count:,} noted, to be done as soon as possible{why}; see 'cdcd parked list'"


def _outcome_of_many(desk: Desk, verb: Verb, count: int, states: dict[str, str]) -> Verdict:
    files = [desk.file(system) for system in states]
    done = waited_for(states, lambda: not any(file.has_open_wishes() for file in files))
    if not done:
        return Verdict(_noted(count, states), {"count": count, "open": count})
    if verb == "discard":
        return Verdict(f"{count:,} discarded", {"count": count, "discarded": count, "open": 0})
    text = f"{count:,} are tried now; 'cdcd parked list' shows what is left"
    return Verdict(text, {"count": count, "open": 0})


def _is_untouched(desk: Desk, verb: Verb, one: Found) -> bool:
    """Whether nothing has happened to a record yet."""
    attempts = _attempts(desk, one)
    return attempts is not None and (verb == "discard" or attempts == one.parked.attempts)


def _attempts(desk: Desk, one: Found) -> int | None:
    """How often a record that is still parked was tried; None when it is parked no more."""
    parked = desk.file(one.system).one(one.subject)
    return None if parked is None or parked.since_us != one.parked.since_us else parked.attempts


def _cause(desk: Desk, one: Found) -> str:
    parked = desk.file(one.system).one(one.subject)
    return "" if parked is None else f"{parked.code}: {parked.cause}"
