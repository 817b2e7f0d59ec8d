"""What a message says: one JSON object for programs, a subject and a text for people. No column's value, no key, no secret."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cdcd.notices.occurrences import Occurrence
from cdcd.notices.store import Message

_WORDS: Final = {"begun": "", "again": "still: ", "ended": "resolved: ", "test": "test: "}


class Letter(msgspec.Struct, frozen=True):
    """One or several messages as they are sent together. `id` stays the same when it is sent again."""

    id: str
    daemon: str
    subject: str
    text: str
    body: bytes
    thread: str
    """The id that the first message about the same occurrence had; "" where it is about several."""


def letter(daemon: str, messages: Sequence[Message]) -> Letter:
    """What is sent for one message, or for several at once, the oldest first."""
    ids = [identity(daemon, message) for message in messages]
    first = messages[0]
    number = ids[0] if len(ids) == 1 else f"{ids[0]}+{len(ids) - 1}"
    subject = _subject(first) if len(ids) == 1 else f"{len(ids)} messages, among them {_worst(messages)}"
    text = "\n\n".join(_text(message) for message in messages)
    notices = [_object(number, message) for number, message in zip(ids, messages, strict=True)]
    content = {"id": number, "daemon": daemon, "text": f"[cdcd {daemon}] {subject}\n{text}", "notices": notices}
    begun = msgspec.structs.replace(first, kind="begun") if first.kind != "test" else first
    thread = identity(daemon, begun) if len(ids) == 1 else ""
    return Letter(number, daemon, f"[cdcd {daemon}] {subject}", text, msgspec.json.encode(content), thread)


def identity(daemon: str, message: Message) -> str:
    """What tells this message from all others, also those of an earlier state directory."""
    found = message.occurrence
    repeated = f"-{message.id}" if message.kind == "again" else ""
    return f"{daemon}-{found.at_us // 1_000_000}-{found.id}-{message.kind}{repeated}"


def trial_message(now_us: int) -> Message:
    """What `cdcd notify --test` sends."""
    text = "this is a test: messages from cdcd arrive here"
    return Message(0, "test", now_us, 0, Occurrence(now_us, "info", "test", "daemon", text, now_us, "cdcd status"))


def _subject(message: Message) -> str:
    found = message.occurrence
    return f"{_WORDS[message.kind]}{found.severity}: {found.text}"[:200]


def _worst(messages: Sequence[Message]) -> str:
    order = {"critical": 0, "warning": 1, "info": 2}
    return _subject(min(messages, key=lambda message: (order[message.occurrence.severity], message.kind == "ended")))


def _text(message: Message) -> str:
    found = message.occurrence
    lines = [f"{_WORDS[message.kind]}{found.text}", f"  {found.severity} [{found.code}] of {found.subject}"]
    lines.append(
        f"  since {_moment(found.at_us)}" if found.ended_at_us != found.at_us else f"  at {_moment(found.at_us)}"
    )
    if found.ended_at_us is not None and found.ended_at_us != found.at_us:
        lines.append(f"  until {_moment(found.ended_at_us)} ({_lasted(found.ended_at_us - found.at_us)})")
    elif found.next:
        lines.append(f"  next: {found.next}")
    return "\n".join(lines)


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(" ", "seconds")


def _lasted(microseconds: int) -> str:
    minutes, seconds = divmod(microseconds // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _object(number: str, message: Message) -> dict[str, Any]:
    found = message.occurrence
    return {
        "id": number,
        "kind": message.kind,
        "severity": found.severity,
        "code": found.code,
        "subject": found.subject,
        "text": found.text,
        "next": found.next,
        "at": _moment(found.at_us),
        "ended_at": None if found.ended_at_us is None else _moment(found.ended_at_us),
    }
