"""What real servers logged for the scenarios of tests/golden/binlog/record.py, and how a source goes through it."""

import json
from pathlib import Path

from cdcd_mysql.assembler import Assembler
from cdcd_mysql.captured import CapturedTables, ServerCharsets
from cdcd_mysql.positions import LogPosition

FOLDER = Path(__file__).parents[2] / "golden" / "binlog"
NAMES = sorted(path.stem for path in FOLDER.glob("*.hex"))
ADVANCE_SIZE = 64
OTHER_GTIDS = "00000000-0000-0000-0000-000000000001:1"


class Golden:
    """A capture: `held` is what the tables held in the end, `events` begin with the server's own ROTATE."""

    def __init__(self, name):
        facts, *lines = (FOLDER / f"{name}.hex").read_text().splitlines()
        self.is_mariadb = "mariadb" in name
        self.collations = {int(number): charset for number, charset in json.loads(facts)["collations"].items()}
        self.held = json.loads(facts)["tables"]
        self.events = [bytes.fromhex(line) for line in lines]
        self.file = self.events[0][27:-4].decode()

    def assembler(self, *tables, position=None, **options):
        charsets = ServerCharsets(self.is_mariadb, self.collations)
        captured = CapturedTables("shop", tables or ("t", "u"), charsets, hints_of(self.is_mariadb), ignore_case=False)
        start = position or LogPosition(self.file, 4, "1", gtids="" if self.is_mariadb else OTHER_GTIDS)
        return Assembler(captured, start, is_mariadb=self.is_mariadb, verify=False, **options)

    def read(self, assembler, events=None, *, source=None):
        """What the assembler makes of events, step by step: compressed and prepared transactions as a source does it."""
        made = []
        for event in self.events if events is None else events:
            assembler.consume(event, 0, len(event))
            while assembler.is_busy and not assembler.is_read:
                if assembler.recall is None:
                    assembler.advance(ADVANCE_SIZE)
                    made += assembler.take()
                else:
                    self._recall(assembler, source or self.events)
            made += assembler.take()
            if assembler.is_read:
                break
        return made

    def _recall(self, assembler, events):
        position = LogPosition(assembler.recall.file, assembler.recall.offset, "1")
        again = self.assembler(position=position, recalls=assembler.decided)
        for made in self.read(again, beginning_at(events, position.offset)):
            if hasattr(made, "relation"):
                assembler.recalled(made)
        assembler.end_recall()


def hints_of(is_mariadb):
    return lambda _: {"j": "json"} if is_mariadb else {}


def beginning_at(events, offset):
    """What the server sends from an offset of the first file on: its own ROTATE and the file's description come first."""
    description = bytearray(events[1])
    description[13:17] = bytes(4)
    if offset == 4:
        return events
    places = [n for n, event in enumerate(events) if int.from_bytes(event[13:17], "little") == offset]
    return [events[0], bytes(description), *(events[places[0] + 1 :] if places else [])]
