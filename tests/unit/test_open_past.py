"""Reading a log a second time beside the capture: as another replica, or not at all."""

import pytest

from cdcd.adapter import Identity
from cdcd.errors import PositionLost
from cdcd_mysql import Options as MySqlOptions
from cdcd_mysql import adapter as mysql
from cdcd_mysql.positions import server_id_of
from cdcd_postgres import Options as PostgresOptions
from cdcd_postgres import adapter as postgres

IDENTITY = Identity("acme", "shop", "lineage")


@pytest.mark.parametrize("server_id", [None, 7])
def test_mysql_sees_another_replica_than_the_capture(server_id):
    options = MySqlOptions(database="shop", user="cdcd", server_id=server_id)
    capture, past = mysql.open_source(IDENTITY, options, []), mysql.open_past(IDENTITY, options, [])
    taken = {options.replica_id(IDENTITY), server_id_of(Identity("acme", "shop prepared", "lineage"))}
    assert capture._options.replica_id(capture._identity) in taken
    assert past._options.replica_id(past._identity) not in taken


def test_postgresql_says_that_it_cannot():
    with pytest.raises(PositionLost) as caught:
        postgres.open_past(IDENTITY, PostgresOptions(dsn="host=nowhere"), [])
    assert "cdcd resync" in caught.value.remedy
