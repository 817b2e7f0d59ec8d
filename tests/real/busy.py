"""Both applications at work at the same time, and a hand that kills the daemon's processes meanwhile."""

import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from os import kill

from cdcd.testing import watchdog
from real.application import Application
from real.pair import Pair

SHOP_PER_SECOND = 4.0
KILL_EVERY_SECONDS = 7.0


class Business(threading.Thread):
    """One application, busy until it is told to stop. `counts` says what was done; `failure` is what ended it before."""

    def __init__(self, tell: Application, seed: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self._tell = tell
        self._seed = seed
        self._pause_seconds = 1 / per_second
        self.ending = threading.Event()
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        seed: int | None = self._seed
        while not self.ending.wait(self._pause_seconds):
            try:
                self._note(self._tell("business", seed=seed))
            except AssertionError as error:
                self.failure = error
                return
            seed = None

    def _note(self, done: str) -> None:
        """Count what was done by its name, and what was refused by the application's reason."""
        refused = ": refused: " in done
        self.counts[done[:160] if refused else done.partition(" ")[0]] += 1


def keep_busy(pair: Pair, seconds: float, seed: int) -> list[Business]:
    """Both applications do business for so long, while the daemon's processes are killed; the daemon runs at the end."""
    at_work = [Business(pair.erp.tell, seed, 100.0), Business(pair.shop.tell, seed + 1, SHOP_PER_SECOND)]
    rng = random.Random(seed)
    deadline = time.monotonic() + seconds
    for business in at_work:
        business.start()
    try:
        while (left := deadline - time.monotonic()) > 0 and not any(business.failure for business in at_work):
            at_work[0].ending.wait(min(left, KILL_EVERY_SECONDS))
            kill_one(pair, rng)
    finally:
        for business in at_work:
            business.ending.set()
        for business in at_work:
            business.join(60)
    for business in at_work:
        if business.failure is not None:
            raise business.failure
    return at_work


def kill_one(pair: Pair, rng: random.Random) -> None:
    """SIGKILL the daemon or one of its processes; a daemon that is gone is started again, as systemd would."""
    assert pair.process is not None
    pid = rng.choice([pair.pid, *watchdog.descendants(pair.pid)])
    with suppress(ProcessLookupError):
        kill(pid, signal.SIGKILL)
    if pid == pair.pid:
        pair.process.wait()
        pair.start()
    assert pair.process.poll() is None, pair.log.read_text()[-4000:]
