"""The secured page, over real TLS: who is let in, and what can be done there, once and on purpose."""

import base64
import re
import socket
import ssl
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from cdcd.config import Secret, SecuredPage, Web
from cdcd.errors import CdcdError, ConfigError
from cdcd.web import access, tls
from unit.web.certificates import self_signed
from unit.web.desk_under_test import AnsweringDesk
from unit.web.site_under_test import Answer, Told, fetch

PASSWORD = "correct horse battery staple"
ANNA = {"Authorization": "Basic " + base64.b64encode(f"anna:{PASSWORD}".encode()).decode()}
PLANNED = {"system": "shop", "waiting_writes": 3, "waiting_bytes": 30}


def paused(arguments: dict[str, Any]) -> dict[str, Any]:
    return PLANNED if arguments["dry_run"] else {"system": "shop", "paused": True}


class Page:
    """A secured site, its certificate, and the desk that its actions reach."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = self_signed(directory)
        password = directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        self.secured = SecuredPage(
            "localhost:0", str(self.certificate), Secret(file=str(self.key)), {"anna": Secret(file=str(password))}
        )
        self.told = Told(directory / "state", secured=self.secured)
        self.desk = AnsweringDesk(self.told.directory, {"pause": paused})

    def get(self, path: str, **headers: str) -> Answer:
        return fetch(self.told.site.secured_port, path, headers={**ANNA, **headers}, trusted=self.certificate)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        port, body = self.told.site.secured_port, urlencode(form)
        return fetch(port, path, "POST", headers={**ANNA, **kind, **headers}, body=body, trusted=self.certificate)

    def form(self, path: str) -> dict[str, str]:
        """The form of a confirmation page."""
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.get(path).body)
        return {name: unescape(value) for name, value in found}

    def close(self) -> None:
        self.desk.close()
        self.told.site.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    made = Page(tmp_path_factory.mktemp("secured"))
    yield made
    made.close()


@pytest.fixture
def page(kept: Page) -> Page:
    kept.desk.answers = {"pause": paused}
    kept.desk.asked.clear()
    return kept


# ---- who is let in -----------------------------------------------------------------------------------------------


def test_nothing_at_all_is_shown_without_a_password(page: Page):
    port = page.told.site.secured_port
    for path in ("/", "/live", "/status.json", "/metrics", "/healthz", "/assets/page.css", "/actions/pause?name=shop"):
        answer = fetch(port, path, trusted=page.certificate)
        assert (answer.code, answer.headers["www-authenticate"]) == (401, 'Basic realm="cdcd", charset="UTF-8"')
        assert "erp" not in answer.body
    assert page.get("/").code == 200
    assert page.get("/metrics").code == 200


def test_the_browser_is_told_to_come_with_tls_only(page: Page):
    assert page.get("/").headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in page.told.get("/").headers


def test_without_tls_or_with_an_old_one_nobody_answers(page: Page):
    port = page.told.site.secured_port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in plain.recv(100)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(page.certificate)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    bare = socket.create_connection(("127.0.0.1", port), timeout=10)
    with old.wrap_socket(bare, server_hostname="127.0.0.1") as secured:
        assert secured.version() == "TLSv1.2"
    assert tls.context(page.secured).minimum_version == ssl.TLSVersion.TLSv1_2


def test_who_tries_passwords_is_not_heard_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    page = Page(tmp_path)
    wrong = {"Authorization": "Basic " + base64.b64encode(b"anna:canary-password").decode()}
    try:
        for _ in range(access.FAILURES_MAX):
            assert page.get("/", **wrong).code == 401
        answer = page.get("/", **wrong)
        assert answer.code == 429
        assert 0 < int(answer.headers["retry-after"]) <= access.FAILURES_SECONDS
        assert page.get("/").code == 429
    finally:
        page.close()
    assert "canary-password" not in caplog.text
    assert {record.address for record in caplog.records if "wrong" in record.message} == {"127.0.0.1"}


# ---- what can be done --------------------------------------------------------------------------------------------


def test_the_page_without_tls_offers_nothing_to_do(page: Page):
    assert 'href="/actions/pause?name=shop"' in page.get("/").body
    assert "/actions/" not in page.told.get("/").body
    assert fetch(page.told.site.port, "/actions/pause", "POST", body="name=shop").code == 404


def test_an_action_is_shown_first_and_done_once(page: Page, caplog: pytest.LogCaptureFixture):
    looked = page.get("/actions/pause?name=shop")
    assert "Pause delivery to shop?" in looked.body
    assert "3 writes wait for it now." in looked.body
    assert "cdcd pause shop" in looked.body
    assert page.desk.done == []
    form = page.form("/actions/pause?name=shop")
    answer = page.post("/actions/pause", form)
    assert answer.code == 303
    outcome = page.get(answer.headers["location"])
    assert "Delivery to shop is paused." in outcome.body
    assert page.get(answer.headers["location"]).code == 200
    assert page.post("/actions/pause", form).code == 403
    assert page.desk.done == [("pause", {"name": "shop", "system": None, "dry_run": False})]
    logged = [r for r in caplog.records if r.message == "action on the status page"]
    assert [(r.user, r.address, r.verb, r.about, r.result) for r in logged] == [
        ("anna", "127.0.0.1", "pause", "name=shop", "begun"),
        ("anna", "127.0.0.1", "pause", "name=shop", "done"),
    ]
    assert form["token"] not in caplog.text


def test_actions_are_counted(page: Page):
    page.post("/actions/pause", page.form("/actions/pause?name=shop"))
    page.post("/actions/pause", {"name": "shop"})
    metrics = page.told.get("/metrics").body
    for result in ("done", "refused"):
        labels = re.escape(f'{{result="{result}",verb="pause"}}')
        assert re.search(rf"^cdcd_page_actions_total{labels} [1-9]", metrics, re.MULTILINE)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
    ],
)
def test_a_form_from_elsewhere_does_nothing_even_with_a_token(page: Page, headers: dict[str, str]):
    assert page.post("/actions/pause", page.form("/actions/pause?name=shop"), **headers).code == 403
    assert page.desk.done == []


def test_a_form_without_its_token_or_for_something_else_does_nothing(page: Page):
    form = page.form("/actions/pause?name=shop")
    for forged in ({"name": "shop"}, form | {"token": "x"}, form | {"name": "erp"}, form | {"system": "shop"}):
        assert page.post("/actions/pause", forged).code == 403
    assert page.post("/actions/resume", form).code == 403
    assert page.desk.done == []
    own = {"Origin": f"https://127.0.0.1:{page.told.site.secured_port}", "Sec-Fetch-Site": "same-origin"}
    assert page.post("/actions/pause", form, **own).code == 303


def test_a_form_that_is_too_long_is_not_read(page: Page):
    assert page.post("/actions/pause", {"name": "x" * 20_000}).code == 413


def test_what_the_daemon_refuses_is_shown_with_the_way_out(page: Page):
    refused = CdcdError("unknown system or entity 'shp'", remedy="did you mean 'shop'?", code="control-argument")
    page.desk.answers["pause"] = refused
    looked = page.get("/actions/pause?name=shp")
    assert looked.code == 409
    assert "did you mean &#39;shop&#39;?" in looked.body
    assert page.get("/actions/explode?name=shop").code == 409
    assert page.get("/actions/pause").code == 409


def test_what_fails_while_it_is_done_is_told_too(page: Page):
    form = page.form("/actions/pause?name=shop")
    page.desk.answers["pause"] = CdcdError("the daemon is <stopping>", code="stopping")
    answer = page.post("/actions/pause", form)
    outcome = page.get(answer.headers["location"])
    assert "This was not done" in outcome.body
    assert "the daemon is &lt;stopping&gt; [stopping]" in outcome.body


def test_an_outcome_that_nobody_knows_any_more_leads_back(page: Page):
    assert page.get("/outcomes/0123").headers["location"] == "/"


def test_hostile_names_are_text(page: Page):
    page.desk.answers["pause"] = lambda _given: {"entity": "x", "systems": ["<b>"], "owed_records": 0}
    body = page.get("/actions/pause?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").body
    assert "<script>alert" not in body
    assert "<b>" not in body


# ---- certificate and key -----------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_taken_over_by_a_reload_and_nothing_else_is_disturbed(tmp_path: Path):
    page = Page(tmp_path)
    try:
        port = page.told.site.secured_port
        listener = page.told.site._secured
        page.told.follow(page.told.config)
        assert page.told.site._secured is listener
        self_signed(tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            page.get("/")
        page.told.follow(page.told.config)
        assert page.told.site.secured_port == port
        assert page.get("/").code == 200
        page.told.reconfigure(web=Web())
        assert page.told.site.secured_port == 0
        assert page.told.get("/healthz").code == 200
    finally:
        page.close()


def test_a_key_that_others_can_read_is_refused(page: Page, tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="open to other users"):
        tls.context(msgspec.structs.replace(page.secured, certificate=str(certificate), key=Secret(file=str(key))))


def test_a_key_that_does_not_fit_or_is_encrypted_or_a_certificate_that_is_missing_is_refused(
    page: Page, tmp_path: Path
):
    replace = msgspec.structs.replace
    _, other = self_signed(tmp_path, name="other")
    _, locked = self_signed(tmp_path, name="locked", passphrase="a passphrase")
    for key in (other, locked, page.certificate):
        key.chmod(0o600)
        with pytest.raises(ConfigError, match="cannot be used") as caught:
            tls.context(replace(page.secured, key=Secret(file=str(key))))
        assert caught.value.code == "page-tls"
    with pytest.raises(ConfigError, match="cannot be read"):
        tls.context(replace(page.secured, certificate=str(tmp_path / "nowhere.crt")))
