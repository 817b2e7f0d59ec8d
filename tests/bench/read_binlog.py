"""A process that reads a binlog with mysql-replication: `python -m bench.read_binlog PORT DATABASE FILE POS END_FILE END_POS`.

It prints how many seconds the rows took from the first event on. Whole files lie between the places.
"""

from __future__ import annotations

import sys
import time

from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent


def main(port: int, database: str, file: str, position: int, end: tuple[str, int]) -> None:
    """Read and throw away."""
    stream = BinLogStreamReader(
        connection_settings={"host": "127.0.0.1", "port": port, "user": "root", "passwd": ""},
        server_id=4711,
        log_file=file,
        log_pos=position,
        resume_stream=True,
        blocking=False,
        only_schemas=[database],
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
    )
    started_at = time.monotonic()
    for event in stream:
        for _row in event.rows:
            pass
        if (stream.log_file, stream.log_pos) >= end:
            break
    print(time.monotonic() - started_at)
    stream.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), (sys.argv[5], int(sys.argv[6])))
