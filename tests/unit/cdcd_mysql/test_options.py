"""The options of a system."""

import msgspec
import pytest

from cdcd.errors import ConfigError
from cdcd_mysql import adapter
from cdcd_mysql.options import Options


def convert(**options):
    return msgspec.convert(options, Options)


def test_the_documented_keys_are_read():
    options = convert(
        **{"host": "h", "database": "d", "user": "u", "password": {"env": "X"}, "tls": "verify-full", "server-id": 5}
    )
    assert (options.host, options.port, options.server_id, options.tls) == ("h", 3306, 5, "verify-full")
    assert adapter.options is Options


@pytest.mark.parametrize(
    "wrong",
    [{"hostname": "h"}, {"tls": "maybe"}, {"port": 0}, {"server-id": 0}, {"password": "plain"}, {"outage": "long"}],
)
def test_what_is_wrong_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        convert(database="d", user="u", **wrong)


def test_an_outage_is_a_duration():
    assert convert(database="d", user="u").outage_seconds == 3 * 86_400
    assert convert(database="d", user="u", outage="90m").outage_seconds == 5400


def test_a_system_is_shown_without_its_secret():
    options = convert(database="d", user="u", host="h", password={"file": "/etc/secret"})
    assert str(options) == "u@h:3306/d"
    assert str(convert(**{"database": "d", "user": "u", "unix-socket": "/run/s"})) == "u@/run/s/d"


@pytest.mark.parametrize(
    ("tls", "context"),
    [("off", None), ("prefer", None), ("require", (0, False)), ("verify-ca", (2, False)), ("verify-full", (2, True))],
)
def test_tls_checks_what_its_mode_says(tls, context):
    made = convert(database="d", user="u", tls=tls).tls_context()
    assert (made and (int(made.verify_mode), made.check_hostname)) == context


def test_an_authority_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (tmp_path / "missing.pem", broken):
        with pytest.raises(ConfigError):
            convert(**{"database": "d", "user": "u", "tls": "verify-ca", "tls-ca": str(path)}).tls_context()


def test_a_bare_table_name_is_its_full_name():
    assert adapter.table_name("item") == "item"
