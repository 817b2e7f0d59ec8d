"""Events as real servers sent them, a line of hexadecimals each: MariaDB 10.11.19 and MySQL 9.7.4.

Both files hold the same: table shop.t is created; rows 1 and 4294967295 inserted; in one transaction with shop.other,
row 1 becomes 2, changes again and is deleted; shop.other alone; TRUNCATE; row 3; FLUSH BINARY LOGS; row 4.
"""

import random
import zlib
from pathlib import Path

from cdcd_mysql.assembler import Assembler
from cdcd_mysql.captured import CapturedTables, ServerCharsets
from cdcd_mysql.positions import LogPosition

COLLATIONS = {8: "latin1", 45: "utf8mb4", 46: "utf8mb4", 255: "utf8mb4", 63: "binary"}
SERVERS = ("mariadb", "mysql")


def read_events(server):
    return [bytes.fromhex(line) for line in Path(__file__).with_name(f"{server}.hex").read_text().split()]


def captured_tables(*tables, server="mariadb", database="shop", hints=None, ignore_case=False):
    return CapturedTables(
        database,
        tables,
        ServerCharsets(server == "mariadb", COLLATIONS),
        lambda _: hints or {},
        ignore_case=ignore_case,
    )


def make_assembler(server, *tables, position=None, verify=False, **options):
    gtids = "0-1-9" if server == "mariadb" else "dbc899b9-e5f7-11f1-80a2-02fc00000001:1-9"
    start = position or LogPosition("binlog.000001", 4, "1", gtids=gtids)
    captured = captured_tables(*(tables or ("t",)), server=server, **options)
    return Assembler(captured, start, is_mariadb=server == "mariadb", verify=verify)


def feed(assembler, events):
    for event in events:
        assembler.consume(event, 0, len(event))
    return assembler.take()


def mutate(events, seed, count):
    """Damage bytes, sizes and order, as a broken disk or a new server version could."""
    source = random.Random(seed)
    mutated = [bytearray(event) for event in events]
    for _ in range(count):
        event = source.choice(mutated)
        if not event:
            continue
        action = source.randrange(5)
        place = source.randrange(len(event))
        if action == 0:
            event[place] = source.randrange(256)
        elif action == 1:
            event[place] ^= 1 << source.randrange(8)
        elif action == 2:
            del event[place : place + source.randrange(1, 9)]
        elif action == 3:
            event[place:place] = source.randbytes(source.randrange(1, 9))
        else:
            mutated.insert(source.randrange(len(mutated)), bytearray(event))
    return [with_checksum(event) for event in mutated]


def with_checksum(event):
    """The event as a server would have written it: damage is found by decoding it, not by its checksum."""
    return bytes(event[:-4]) + zlib.crc32(event[:-4]).to_bytes(4, "little")
