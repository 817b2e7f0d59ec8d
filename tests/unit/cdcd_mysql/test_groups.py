"""Names of transactions: GTIDs of both families, XA ids, and how they are asked for."""

import pytest

from cdcd.errors import DecodeError
from cdcd_mysql.dump import DumpRequest, dump_command, encode_gtid_set
from cdcd_mysql.groups import decode_mariadb_gtid, decode_prepare, decode_tagged_gtid
from cdcd_mysql.positions import LogPosition, MySqlGtids
from cdcd_mysql.prepared import PreparedGroup, PreparedTransactions, forget_places, xa_statement
from unit.cdcd_mysql.golden import Golden

TAGGED = bytes.fromhex(
    "027200000002a1039103be0699031c22c50301026604f103000000020404060a7461675f31080c0a100c7f6fb4aae4d2600610a9051283120b"
)
"""As MySQL 9.7.4 sent it."""
UUID = "e8e45f03-e60e-11f1-8033-02fc00000001"


def test_a_tagged_gtid_has_its_tag():
    gtid = decode_tagged_gtid(TAGGED, 0, len(TAGGED))
    assert (gtid.source, gtid.number) == (f"{UUID}:tag_1", 1)
    assert gtid.committed_at_us // 1_000_000 == 1795308756


@pytest.mark.parametrize("wrong", [b"\x04" + TAGGED[1:], TAGGED[:2] + b"\x80" + TAGGED[3:], TAGGED[:4]])
def test_a_tagged_gtid_of_a_newer_format_is_refused(wrong):
    with pytest.raises((DecodeError, IndexError)):
        decode_tagged_gtid(wrong, 0, len(wrong))


def test_mariadbs_gtid_tells_what_its_group_is():
    prepare = bytes.fromhex("2100000000000000000000004c0700000003066f6e656272616e636801ff")
    assert decode_mariadb_gtid(prepare, 0, len(prepare)) == (33, 0, False, "X'6f6e65',X'6272616e6368',7", True)
    plain = bytes.fromhex("1d000000000000000500000029000000000000")
    assert decode_mariadb_gtid(plain, 0, len(plain)) == (29, 5, True, "", True)
    start_alter = bytes.fromhex("1d00000000000000050000002902")
    assert decode_mariadb_gtid(start_alter, 0, len(start_alter)).is_decided is False


def test_a_prepare_has_the_id_that_statements_have():
    raw = bytes.fromhex("000700000003000000060000006f6e656272616e6368")
    xid = decode_prepare(raw, 0, len(raw)).xid
    assert xa_statement(f"XA COMMIT {xid}".encode()) == ("COMMIT", xid)
    assert xa_statement(b"XA END X'00',X'',1") is None


def test_open_transactions_are_part_of_a_position():
    prepared = PreparedTransactions()
    prepared.add("X'01',X'',1", PreparedGroup("a log,%:.000001", 120))
    prepared.add("X'02',X'',1", PreparedGroup("binlog.000002", 4, has_rows=False))
    again = PreparedTransactions(str(prepared))
    assert str(again) == str(prepared)
    assert " " not in str(prepared)
    assert again.pop("X'01',X'',1") == PreparedGroup("a log,%:.000001", 120)
    assert again.pop("X'02',X'',1") == PreparedGroup("binlog.000002", 4)
    assert again.pop("X'02',X'',1") is None
    assert str(again) == ""
    assert PreparedTransactions(forget_places(str(prepared))).pop("X'01',X'',1").file == ""


@pytest.mark.parametrize("name", ["everything.mysql-9.7", "tagged.mysql-9.7"])
def test_gtid_sets_are_encoded_as_the_server_writes_them(name):
    """PREVIOUS_GTIDS, the first event of a file, holds such a set."""
    raw = Golden(name).events[2][19:-4]
    text = f"{UUID}:1-64:tag_1:1" if name.startswith("everything") else f"{UUID}:1-60"
    assert encode_gtid_set(text) == raw


def test_a_set_is_printed_as_the_server_prints_it():
    gtids = MySqlGtids(f"{UUID}:1-3")
    gtids.add(f"{UUID}:b", 1)
    gtids.add(f"{UUID}:a", 2)
    assert str(gtids) == f"{UUID}:1-3:a:2:b:1"
    assert str(MySqlGtids(str(gtids))) == str(gtids)


def test_a_dump_begins_before_the_marked_event():
    position = LogPosition("binlog.000007", 1543, "1", mark_size=31)
    assert dump_command(DumpRequest(position, is_mariadb=False), 9) == (
        0x12,
        (1512).to_bytes(4, "little") + b"\0\0" + b"\x09\0\0\0" + b"binlog.000007",
    )
