"""What tests of the MySQL target share: an open target, and the table it writes to."""

import pytest
from pymysql.constants import COMMAND

from cdcd.errors import Refused
from cdcd.model import Batch, TableWrite


class Desk:
    """An open target, and the table `t` it writes to."""

    def __init__(self, harness, *definitions):
        self.harness = harness
        harness.sql(*definitions)
        self.target = harness.open_target()
        self.through = self.target.open()

    def apply(self, *writes):
        applied = self.target.apply(writes, Batch(self.through, self.through + 1))
        self.through += 1
        return applied.missing

    def refuse(self, *writes):
        with pytest.raises(Refused) as caught:
            self.apply(*writes)
        return caught.value

    def rows_read(self):
        """So far, in any table and by any index, by the target's session."""
        return sum(int(value) for _, value in self.target._session.run("SHOW SESSION STATUS LIKE 'Handler_read%'").rows)

    def exchanges(self, monkeypatch):
        """A list that gets the SQL of every round trip from now on; of rows as parameters, `PREPARE …` and `PARAMETERS`."""
        connection, sent = self.target._session.connection, []
        execute = connection._execute_command

        def note(command, payload):
            prepared = f"PREPARE {payload.decode()}" if command == COMMAND.COM_STMT_PREPARE else "PARAMETERS"
            sent.append(payload if command == COMMAND.COM_QUERY else prepared)
            execute(command, payload)

        monkeypatch.setattr(connection, "_execute_command", note)
        return sent

    @property
    def takes_parameters(self):
        """Whether its server takes rows as parameters."""
        return self.target._session.takes_parameters

    def rows(self, columns="*", table="t", order="id"):
        return self.harness.sql(f"SELECT {columns} FROM {table} ORDER BY {order}")


def write(kind, columns, rows, key=("id",), table="t", **more):
    return TableWrite(table, kind, key, tuple(columns), [list(row) for row in rows], **more)
