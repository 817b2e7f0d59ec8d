"""The options of a system."""

import msgspec
import pytest

from cdcd.adapter import Identity
from cdcd.config import Secret
from cdcd_postgres import Options

IDENTITY = Identity("acme", "erp", "lineage")


def test_a_dsn_is_enough():
    options = msgspec.convert({"dsn": "dbname=erp"}, Options)
    assert options.slot_name(IDENTITY) == options.publication_name(IDENTITY) == "cdcd_acme_erp"
    assert options.checkpoint_table.spelled == "public.cdcd_checkpoint"


def test_everything_can_be_named_in_kebab_case():
    raw = {
        "dsn": "dbname=erp",
        "password": {"file": "/etc/cdcd/erp"},
        "slot": "erp_slot",
        "publication": "erp pub",
        "checkpoint-schema": "cdcd",
        "application-name": "cdcd erp",
        "connect-timeout-seconds": 3,
        "statement-timeout-seconds": 30,
        "lock-timeout-seconds": 3,
        "slot-wait-seconds": 20,
        "silence-seconds": 40,
        "outage": "12h",
    }
    options = msgspec.convert(raw, Options)
    assert options.password == Secret(file="/etc/cdcd/erp")
    assert (options.slot_name(IDENTITY), options.publication_name(IDENTITY)) == ("erp_slot", "erp pub")
    assert options.checkpoint_table.spelled == "cdcd.cdcd_checkpoint"
    assert msgspec.to_builtins(options).keys() == raw.keys()


@pytest.mark.parametrize("extra", [{"sllot": "x"}, {"slot": "Not A Slot"}, {"lock-timeout-seconds": 0}])
def test_unknown_keys_and_impossible_values_are_refused(extra):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"dsn": "dbname=erp", **extra}, Options)
