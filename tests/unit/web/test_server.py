"""The pages, over real HTTP."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from cdcd.errors import NotReady, Unavailable
from cdcd.status import DaemonStatus
from cdcd.web.server import WebServer
from unit.statuses import daemon, error, worker


class Site:
    """A server, and what it will be told."""

    def __init__(self) -> None:
        self.status = daemon()
        self.silent = False
        self.server = WebServer("127.0.0.1:0", self._ask)

    def _ask(self) -> DaemonStatus:
        if self.silent:
            raise Unavailable("the supervisor does not answer", code="supervisor-silent")
        return self.status

    def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.close()


def test_metrics_are_served_as_prometheus_wants_them(site: Site):
    code, kind, body = site.get("/metrics")
    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert 'cdcd_source_connected{source="erp"} 1.0' in body


def test_health_is_200_or_503_with_reasons(site: Site):
    code, kind, body = site.get("/healthz")
    assert (code, kind, json.loads(body)) == (200, "application/json", {"status": "healthy", "reasons": []})
    site.status = daemon(capture=worker("stopped", error=error()))
    code, _, body = site.get("/healthz")
    assert code == 503
    assert json.loads(body)["reasons"][0]["code"] == "not-ready"


def test_readiness_waits_for_all_workers(site: Site):
    assert site.get("/readyz")[0] == 200
    site.status = daemon(deliver=worker("starting"))
    assert site.get("/readyz")[0] == 503


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_a_supervisor_that_hangs_is_unhealthy_everywhere(site: Site, path: str):
    site.silent = True
    code, _, body = site.get(path)
    assert code == 503
    assert json.loads(body)["reasons"][0]["code"] == "supervisor-silent"


def test_metrics_of_a_supervisor_that_hangs_are_an_error_and_not_a_hang(site: Site):
    site.silent = True
    assert site.get("/metrics")[0] == 503


def test_the_page_shows_what_is_wrong_and_escapes_it(site: Site):
    site.status = daemon(deliver=worker("stopped", error=error(what="table <b> & co")))
    code, kind, body = site.get("/")
    assert (code, kind) == (200, "text/html; charset=utf-8")
    assert "table &lt;b&gt; &amp; co" in body
    assert "needs attention" in body


def test_other_paths_and_methods_are_refused(site: Site):
    assert site.get("/nothing")[0] == 404
    assert site.get("/healthz", "POST")[0] == 405
    assert site.get("/healthz", "HEAD")[0] == 200


def test_a_slow_client_keeps_nobody_waiting(site: Site):
    with socket.create_connection(("127.0.0.1", site.server.port)) as slow:
        slow.sendall(b"GET /healthz HT")
        assert site.get("/healthz")[0] == 200


def test_an_address_in_use_is_explained(site: Site):
    with pytest.raises(NotReady, match=r"cannot listen on 127\.0\.0\.1:") as caught:
        WebServer(f"127.0.0.1:{site.server.port}", site._ask)
    assert caught.value.code == "listen"


def test_an_ipv6_address_works():
    server = WebServer("[::1]:0", daemon)
    connection = http.client.HTTPConnection("::1", server.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    server.close()
