"""The library that is loaded before the daemon's processes, and the orders it takes. See shim.c."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

_ORDERS: Final = struct.Struct("=qii")
ANY_PROCESS: Final = -1


def is_possible() -> bool:
    """Whether there is a C compiler to make it."""
    return shutil.which("cc") is not None


class Shim:
    """The library, compiled into `directory`, and its file of orders."""

    def __init__(self, directory: Path) -> None:
        self._library = directory / "shim.so"
        self._file = directory / "shim.orders"
        self._file.write_bytes(_ORDERS.pack(0, 0, 0))
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CDCD_SHIM": str(self._file)}

    def set_clock(self, offset_seconds: float) -> None:
        """What the processes take for the time of day: so many seconds from the real one."""
        self._write(0, struct.pack("=q", int(offset_seconds * 1e6)))

    def fail_syncs(self, count: int, pid: int = ANY_PROCESS) -> None:
        """The next fsync or fdatasync calls fail, in that process."""
        self._write(8, struct.pack("=ii", count, pid))

    @property
    def syncs_to_fail(self) -> int:
        """How many have not been called yet."""
        return max(0, int(_ORDERS.unpack(self._file.read_bytes())[1]))

    def _write(self, offset: int, content: bytes) -> None:
        with self._file.open("r+b") as file:
            file.seek(offset)
            file.write(content)
