"""The plain pages, over real HTTP."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from cdcd.config import Daemon as DaemonConfig
from cdcd.errors import NotReady, Unavailable
from cdcd.web import listener
from cdcd.web.pages import Pages
from unit.statuses import daemon, error, worker
from unit.web.site_under_test import Told


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    made = Told(tmp_path_factory.mktemp("state"))
    yield made
    made.site.close()


@pytest.fixture
def told(kept: Told, monkeypatch: pytest.MonkeyPatch) -> Told:
    """The same site for all, told of a daemon that is well, and that looks at once."""
    monkeypatch.setattr("cdcd.web.pages.KEPT_SECONDS", -1.0)
    kept.status, kept.is_silent = daemon(), False
    return kept


def test_metrics_are_served_as_prometheus_wants_them(told: Told):
    answer = told.get("/metrics")
    assert (answer.code, answer.kind.partition(";")[0]) == (200, "text/plain")
    assert 'cdcd_source_connected{source="erp"} 1.0' in answer.body
    answer = told.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.kind.startswith("application/openmetrics-text")


def test_health_is_200_or_503_with_reasons(told: Told):
    answer = told.get("/healthz")
    assert (answer.code, answer.kind, answer.json()) == (200, "application/json", {"status": "healthy", "reasons": []})
    told.status = daemon(capture=worker("stopped", error=error()))
    answer = told.get("/healthz")
    assert answer.code == 503
    assert answer.json()["reasons"][0]["code"] == "not-ready"


def test_readiness_waits_for_all_workers(told: Told):
    assert told.get("/readyz").code == 200
    told.status = daemon(deliver=worker("starting"))
    assert told.get("/readyz").code == 503


def test_the_status_is_served_to_programs_as_the_command_line_gives_it(told: Told):
    found = told.get("/status.json").json()
    assert set(found) == {"command", "ok", "summary", "result", "error"}
    assert (found["command"], found["ok"]) == ("status", True)
    assert found["result"]["systems"]["shop"]["deliver"]["applied_unit"] == 7
    told.status = daemon(deliver=worker("stopped", error=error()))
    found = told.get("/status.json").json()
    assert (found["ok"], found["result"]["healthy"]) == (False, False)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/live", "/status.json"])
def test_a_supervisor_that_hangs_is_unhealthy_everywhere(told: Told, path: str):
    told.is_silent = True
    answer = told.get(path)
    assert answer.code == 503
    assert answer.json()["reasons"][0]["code"] == "supervisor-silent"


def test_the_page_says_that_the_supervisor_hangs_and_tries_again(told: Told):
    told.is_silent = True
    answer = told.get("/")
    assert (answer.code, answer.kind) == (503, "text/html; charset=utf-8")
    assert "The daemon does not answer" in answer.body
    assert "supervisor-silent" in answer.body
    assert 'http-equiv="refresh"' in answer.body


def test_metrics_of_a_supervisor_that_hangs_are_an_error_and_not_a_hang(told: Told):
    told.is_silent = True
    assert told.get("/metrics").code == 503


def test_the_page_shows_what_is_wrong_with_the_way_out_and_escapes_it(told: Told):
    told.status = daemon(deliver=worker("stopped", error=error(what="table <b> & co")))
    answer = told.get("/")
    assert (answer.code, answer.kind) == (200, "text/html; charset=utf-8")
    assert "table &lt;b&gt; &amp; co" in answer.body
    assert "<b> & co" not in answer.body
    assert "1 thing needs you now" in answer.body
    assert "SELECT pg_create_…" in answer.body


def test_other_paths_and_methods_are_refused(told: Told):
    assert told.get("/nothing").code == 404
    assert told.get("/actions/pause?name=shop").code == 404
    assert told.get("/healthz", "POST").code == 405
    assert told.get("/healthz", "HEAD").code == 200


def test_every_answer_binds_the_browser(told: Told):
    for path in ("/", "/live", "/healthz", "/metrics", "/nothing", "/assets/page.css"):
        headers = told.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
    assert told.get("/").headers["cache-control"] == "no-store"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(told: Told):
    body = told.get("/").body
    assert "style=" not in body
    assert re.findall(r"<script(?![^>]*\bsrc=)", body) == []
    assert re.findall(r"\bon\w+=", body) == []
    assert [found for found in re.findall(r'(?:src|href)="([^"]*)"', body) if not found.startswith(("/", "#"))] == []


def test_assets_may_be_kept_for_ever_under_their_version_only(told: Told):
    (address,) = set(re.findall(r'"(/assets/page\.css\?v=\w+)"', told.get("/").body))
    answer = told.get(address)
    assert (answer.code, answer.kind) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert told.get("/assets/page.css").headers["cache-control"] == "no-cache"
    assert told.get("/assets/page.css?v=older").headers["cache-control"] == "no-cache"
    for name in ("page.html", "..%2fapp.py", "%2e%2e/app.py"):
        assert told.get(f"/assets/{name}").code == 404


# ---- clients that are not nice -----------------------------------------------------------------------------------


def test_a_slow_client_keeps_nobody_waiting(told: Told):
    with socket.create_connection(("127.0.0.1", told.site.port)) as slow:
        slow.sendall(b"GET /healthz HT")
        assert told.get("/healthz").code == 200


def is_hung_up_on(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def test_who_does_not_come_to_the_point_is_hung_up_on(told: Told, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.1)
    for begun in (b"", b"GET /healthz HT", b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", told.site.port), timeout=10) as slow:
            slow.sendall(begun)
            while begun.startswith(b"POST") and slow.recv(4096):
                pass  # it is answered before its end
            assert begun.startswith(b"POST") or is_hung_up_on(slow)


def test_there_are_so_many_connections_at_most(told: Told, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 3)
    with ExitStack() as stack:
        address = ("127.0.0.1", told.site.port)
        held = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(4)]
        assert is_hung_up_on(held[3])
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held[0].recv(12) == b"HTTP/1.1 200"


def test_a_head_without_an_end_is_refused(told: Told):
    with socket.create_connection(("127.0.0.1", told.site.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 30_000)
        assert client.recv(12) == b"HTTP/1.1 400"


# ---- addresses ---------------------------------------------------------------------------------------------------


def test_an_address_in_use_is_explained(told: Told):
    taken = msgspec.structs.replace(
        told.config, daemon=DaemonConfig("acme", "/state", listen=f"127.0.0.1:{told.site.port}")
    )
    with pytest.raises(NotReady, match=r"cannot listen on 127\.0\.0\.1:") as caught:
        told.site.prepare(taken)
    assert caught.value.code == "listen"
    assert "daemon.listen" in caught.value.remedy


def test_an_ipv6_address_works(tmp_path: Path):
    told = Told(tmp_path / "state", listen="[::1]:0")
    connection = http.client.HTTPConnection("::1", told.site.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    told.site.close()


def test_another_address_is_followed_and_none_is_none(tmp_path: Path):
    told = Told(tmp_path / "state")
    first = told.site.port
    told.reconfigure(daemon=DaemonConfig("acme", "/state", listen="localhost:0"))
    assert told.get("/healthz").code == 200
    assert told.site.port != first
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    told.reconfigure(daemon=DaemonConfig("acme", "/state"))
    assert told.site.port == 0
    told.site.close()


def test_what_was_prepared_and_is_not_wanted_lets_go_of_its_address(tmp_path: Path):
    told = Told(tmp_path / "state", listen=None)
    config = msgspec.structs.replace(told.config, daemon=DaemonConfig("acme", "/state", listen="127.0.0.1:0"))
    prepared = told.site.prepare(config)
    (bound,) = prepared.sockets.values()
    prepared.discard()
    assert bound.fileno() == -1
    told.site.close()


def test_a_site_that_nobody_asks_does_not_even_wake_up(told: Told):
    assert told.get("/healthz").code == 200
    (thread,) = [found for found in threading.enumerate() if found.name == f"web-{told.site.port}"]

    def switches() -> int:
        text = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        return int(text.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])

    before = switches()
    time.sleep(0.5)
    assert switches() - before < 3  # a timer of a tenth of a second would be five


def test_a_mistake_of_ours_is_named_in_the_log_without_what_it_says(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def mistaken() -> None:
        raise LookupError("a canary value")

    monkeypatch.setattr("cdcd.web.pages.overview.make", lambda *_: mistaken())
    answer = told.get("/")
    assert (answer.code, answer.body) == (500, "this failed; the daemon's log says more\n")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    (record,) = [found for found in caplog.records if found.name == "cdcd.web"]
    assert record.exception == "LookupError"
    assert "test_server.py" in record.raised
    assert "canary" not in caplog.text


class CountedLock:
    """A lock that tells how many have wanted it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._wanted.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self._wanted.acquire(timeout=30)


def test_who_looks_while_the_supervisor_hangs_waits_as_long_as_one_however_many_there_are(told: Told):
    asked: list[int] = []
    lock = CountedLock()

    def hanging() -> None:
        asked.append(1)
        lock.wait_for(3)
        raise Unavailable("the supervisor does not answer", code="supervisor-silent")

    pages = Pages(msgspec.structs.replace(told.daemon, status=hanging), may_act=False)
    pages._lock = lock
    found: list[int] = []
    viewers = [threading.Thread(target=lambda: found.append(pages.whole().status_code)) for _ in range(3)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert (found, len(asked)) == ([503] * 3, 1)
