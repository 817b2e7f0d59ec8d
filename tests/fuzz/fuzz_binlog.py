"""Feeds mutated binary logs to the assembler: `python tests/fuzz/fuzz_binlog.py -max_total_time=SECONDS CORPUS_DIR`.

Needs atheris. An input is one byte for the server's family, then events, each with two bytes of size before it: type,
flags and body. Headers, offsets and checksums are made here, so that damage reaches the decoders. The recorded logs
of tests/golden/binlog are added to the corpus. A finding is any exception but the core's errors, a hang, or memory.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(ROOT / "tests")]

with atheris.instrument_imports(include=["cdcd_mysql"]):
    from cdcd.errors import CdcdError
    from cdcd_mysql.binlog import HEADER_SIZE
    from unit.cdcd_mysql.golden import NAMES, Golden

ADVANCE_SIZE = 1 << 16
CHECKSUM_SIZE = 4
KNOWN = {
    family: next(Golden(name) for name in NAMES if name.startswith(f"plain.{family}"))
    for family in ("mariadb", "mysql")
}


def packed(golden: Golden) -> bytes:
    """A recorded log as an input."""
    events = [event[4:5] + event[17:18] + event[HEADER_SIZE:-CHECKSUM_SIZE] for event in golden.events[2:]]
    return bytes([golden.is_mariadb]) + b"".join(len(event).to_bytes(2, "little") + event for event in events)


def unpacked(data: bytes) -> list[bytes]:
    """The events of an input."""
    events = []
    place, offset = 1, 4
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 2], "little")
        kind, flags, body = data[place + 2 : place + 3], data[place + 3 : place + 4], data[place + 4 : place + 2 + size]
        place += 2 + max(size, 2)
        whole = HEADER_SIZE + len(body) + CHECKSUM_SIZE
        offset += whole
        header = b"\x01\x02\x03\x60" + kind + b"\1\0\0\0" + whole.to_bytes(4, "little") + offset.to_bytes(4, "little")
        event = header + flags + b"\0" + body
        events.append(event + zlib.crc32(event).to_bytes(4, "little"))
    return events


def read(data: bytes) -> None:
    """What a source does with a log, whatever it holds."""
    if not data:
        return
    golden = KNOWN["mariadb" if data[0] & 1 else "mysql"]
    assembler = golden.assembler(recalls="X'6f6e65',X'6272616e6368',7" if data[0] & 2 else "")
    with contextlib.suppress(CdcdError):
        for event in [*golden.events[:2], *unpacked(data)]:
            assembler.consume(event, 0, len(event))
            while assembler.is_busy and not assembler.is_read:
                if assembler.recall is None:
                    assembler.advance(ADVANCE_SIZE)
                else:
                    assembler.end_recall()
                assembler.take()
            if assembler.is_read:
                break
    assembler.take()


def main() -> None:
    """Fill the corpus with the recorded logs, then fuzz."""
    for folder in (Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")):
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (folder / name).write_bytes(packed(Golden(name)))
    atheris.Setup([*sys.argv, "-timeout=20", "-rss_limit_mb=1024", "-max_len=20000"], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
