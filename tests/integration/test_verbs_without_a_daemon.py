"""The operator's verbs on a state directory whose daemon does not run: carried out now, or found at the next start."""

import json
from pathlib import Path

from integration.idle_daemon import IdleDaemon


def test_verbs_are_carried_out_on_the_state_directory_while_no_daemon_runs(tmp_path: Path):
    daemon = IdleDaemon(tmp_path, tmp_path / "state")
    try:
        daemon.start()
        daemon.wait_for(lambda s: not s.copying() and s.resolve.phases.get("item") == "live", "the first copy")
        assert daemon.end() == 0
        paused = json.loads(daemon.cli("pause", "b", "--json").stdout)
        assert paused["result"]["paused"] is True
        resync = json.loads(daemon.cli("resync", "item", "--json").stdout)
        assert resync["ok"]
        wrong = daemon.cli("pause", "c")
        assert (wrong.returncode, "unknown" in wrong.stderr) == (2, True)
        waited = daemon.cli("wait")
        assert (waited.returncode, "nothing can arrive without it" in waited.stderr) == (1, True)
        seq = json.loads(daemon.cli("status", "--json").stdout)["result"]["journal"]["last_seq"]
        daemon.start()
        daemon.wait_for_states(deliver_b="paused")
        daemon.wait_for(lambda s: s.journal.last_seq >= seq + 2 and not s.copying(), "the resync")
        assert daemon.cli("resume", "b").returncode == 0
        daemon.wait_for_states()
        assert daemon.end() == 0
    finally:
        daemon.dispose()
