"""The pages of a daemon that really runs, and what people do there."""

import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from cdcd.testing.server_process import free_port
from integration.idle_daemon import IdleDaemon
from unit.web.certificates import self_signed
from web.looking import Looking

PASSWORD = "canary-password-of-anna"
SECURED = """
[web.secured]
listen = "127.0.0.1:{port}"
certificate = "{certificate}"
key = {{ file = "{key}" }}
[web.secured.users]
anna = {{ env = "CDCD_PAGE_ANNA" }}
"""


class SecuredDaemon(IdleDaemon):
    """With the page over TLS, too."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, directory / "state")
        self.environment["CDCD_PAGE_ANNA"] = PASSWORD
        self.secured_port = free_port()
        self.certificate, self.key = self_signed(directory)
        self.written = self.config.read_text()
        with self.config.open("a") as file:
            file.write(SECURED.format(port=self.secured_port, certificate=self.certificate, key=self.key))

    def answers(self, port: int, *, is_secured: bool = False) -> bool:
        """Whether anybody serves there; over TLS it asks for a password."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as bare:
                if is_secured:
                    context = ssl.create_default_context(cafile=str(self.certificate))
                    context.wrap_socket(bare, server_hostname="127.0.0.1").close()
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredDaemon]:
    made = SecuredDaemon(tmp_path_factory.mktemp("daemon"))
    made.start()
    made.wait_for_states()
    yield made
    made.dispose()


def test_the_page_follows_what_happens_to_the_daemon(looking: Looking, daemon: SecuredDaemon):
    page = looking.open(daemon.port)
    page.wait_for_selector("#verdict[data-level=well]")
    assert page.locator("#systems tbody tr").count() == 5
    assert "idle" in page.inner_text("header")
    assert daemon.cli("pause", "b").returncode == 0
    row = page.locator("#systems tbody tr").last  # where b is written to
    row.get_by_text("paused").wait_for()
    assert "cdcd resume b" in page.inner_text(".concerns")
    assert daemon.cli("resume", "b").returncode == 0
    row.get_by_text("running").wait_for()
    page.wait_for_selector("#events li[data-tone=info]")


def test_a_person_with_a_password_pauses_and_resumes_and_the_log_says_who(looking: Looking, daemon: SecuredDaemon):
    person = {"http_credentials": {"username": "anna", "password": PASSWORD}, "ignore_https_errors": True}
    page = looking.open(daemon.secured_port, java_script_enabled=False, **person)
    page.click("a[href='/actions/pause?name=b']")
    assert page.inner_text("h1").strip() == "Pause delivery to b?"
    assert "cdcd pause b" in page.inner_text("main")
    page.click("button")
    assert page.inner_text("h1").strip() == "Done"
    assert "Delivery to b is paused." in page.inner_text("main")
    page.reload()
    page.click("text=Back to the status page")
    assert "delivery to b is paused by an operator" in page.inner_text(".concerns")
    page.click("a[href='/actions/resume?name=b']")
    page.click("button")
    assert "Delivery to b goes on." in page.inner_text("main")
    page.goto(f"https://127.0.0.1:{daemon.secured_port}/actions/resync?entity=item")
    assert "a: item is read again" in page.inner_text("main")
    page.click("button")
    assert "The resync of item has begun: 2 tables." in page.inner_text("main")
    page.goto(f"https://127.0.0.1:{daemon.secured_port}/actions/deliver?entity=item&system=b")
    page.click("button")
    assert "0 records of item are being told." in page.inner_text("main")
    log = daemon.log.read_text()
    done = re.findall(r'"action on the status page" user=anna address=127\.0\.0\.1 verb=(\w+).*result=done', log)
    assert done == ["pause", "resume", "resync", "deliver"]
    assert PASSWORD not in log
    assert 'cdcd_page_actions_total{result="done",verb="pause"} 1.0' in daemon.get("/metrics")[1]
    daemon.wait_for_states()


def test_parked_records_are_tried_again_from_the_page(looking: Looking, daemon: SecuredDaemon):
    daemon.wait_for_states()
    parked = ParkedRecords(daemon.directory.deliver("b"))
    parked.park([((0, encode_key((7,))), None)], 1, "too-long", "a value is longer than its column")
    parked.close()
    person = {"http_credentials": {"username": "anna", "password": PASSWORD}, "ignore_https_errors": True}
    page = looking.open(daemon.secured_port, **person)
    page.click("#waiting .act")
    assert page.inner_text("h1") == "Try 1 parked record again?"
    assert "cdcd parked retry --all --system=b --entity=item --reason=too-long" in page.inner_text("main")
    page.click("button")
    assert "The parked records are tried again now." in page.inner_text("main")


def test_a_reload_follows_the_addresses_and_is_refused_where_one_is_taken(daemon: SecuredDaemon):
    config, old = daemon.config.read_text(), daemon.port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon.config.write_text(config.replace(f":{old}", f":{taken.getsockname()[1]}"))
        refused = daemon.cli("reload")
        assert refused.returncode != 0
        assert "[listen] cannot listen on 127.0.0.1:" in refused.stderr
        assert daemon.answers(old)
    daemon.port = free_port()
    daemon.config.write_text(config.replace(f":{old}", f":{daemon.port}"))
    assert daemon.cli("reload", "--dry-run").returncode == 0
    assert daemon.answers(old)
    assert not daemon.answers(daemon.port)
    reloaded = daemon.cli("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    assert not daemon.answers(old)
    assert daemon.get("/healthz")[0] in (200, 503)
    assert daemon.answers(daemon.secured_port, is_secured=True)
    daemon.config.write_text(daemon.written.replace(f":{old}", f":{daemon.port}"))
    assert daemon.cli("reload").returncode == 0
    assert not daemon.answers(daemon.secured_port)
    assert daemon.answers(daemon.port)


def test_a_daemon_does_not_start_with_a_key_that_others_can_read_and_check_warns_of_an_open_page(tmp_path: Path):
    daemon = SecuredDaemon(tmp_path)
    daemon.key.chmod(0o644)
    started = daemon.cli("run")
    assert started.returncode == 3
    assert "is open to other users" in started.stderr + started.stdout
    daemon.key.chmod(0o600)
    daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1", "0.0.0.0"))
    checked = daemon.cli("check")
    assert "whoever can reach 0.0.0.0" in checked.stdout
    daemon.config.write_text(daemon.config.read_text() + "\n[web]\nopen-to-network = true\n")
    assert "whoever can reach" not in daemon.cli("check").stdout


def test_the_daemon_ends_at_once_although_somebody_looks(looking: Looking, daemon: SecuredDaemon):
    looking.may_fail = True
    page = looking.open(daemon.port)
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/live", timeout=10) as held:
        assert held.status == 200
        assert daemon.end() == 0
    page.wait_for_selector("#silence:not([hidden])")
    assert "The daemon is not reachable." in page.inner_text("#silence")
