"""URLs as options; a password in one is taken out of it, and errors never repeat it."""

from __future__ import annotations

import pytest

from cdcd.errors import ConfigError
from cdcd.init.addresses import parse


def test_a_postgres_url_is_a_connection_string():
    found = parse("postgresql://cdcd@erp.internal:5433/er%20p?sslmode=verify-full")
    assert found.options == {
        "adapter": "postgres",
        "dsn": "host=erp.internal port=5433 dbname='er p' user=cdcd sslmode=verify-full",
    }
    assert found.password is None


def test_a_mysql_url_is_its_options_and_its_password_is_kept_apart():
    found = parse("mariadb://cdcd:s3%2Fcret@shop.internal:3307/shop?tls=require")
    assert found.options == {
        "adapter": "mysql",
        "host": "shop.internal",
        "port": 3307,
        "database": "shop",
        "user": "cdcd",
        "tls": "require",
    }
    assert found.password == "s3/cret"


@pytest.mark.parametrize("url", ["erp.internal/secret", "postgres://u:secret@h:port/x"])
def test_what_is_no_url_is_refused_without_being_repeated(url: str):
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
