"""The configuration of the status page: what must fit together, and what `check` says of it."""

import tomllib
from pathlib import Path

import pytest

from cdcd import config as c
from cdcd import config_web
from cdcd.web import checks
from unit.web.certificates import self_signed

SECURED = """
[web.secured]
listen = "0.0.0.0:9146"
certificate = "/etc/cdcd/page.crt"
key = { file = "/etc/cdcd/page.key" }
[web.secured.users]
anna = { env = "CDCD_PAGE_TEST" }
"""


def config(text: str = "", listen: str = "127.0.0.1:9145") -> c.Config:
    raw = tomllib.loads(f'[daemon]\nname = "a"\nstate-dir = "/s"\nlisten = "{listen}"\n[systems]\n{text}')
    return c.convert(raw, c.Config, "cdcd.toml", "")


@pytest.mark.parametrize(
    ("text", "listen", "said"),
    [
        ("", "127.0.0.1", "daemon.listen: expected host:port"),
        ("", "localhost:70000", "daemon.listen: expected host:port"),
        ('[web]\nkeys-shown = ["prodct"]', "localhost:1", "web.keys-shown[0]: unknown entity 'prodct'; known: none"),
        (SECURED.replace(":9146", ""), "localhost:1", "web.secured.listen: expected host:port, got '0.0.0.0'"),
        (SECURED, "0.0.0.0:9146", "web.secured.listen: is daemon.listen, which is without TLS"),
        (
            SECURED.replace("/etc/cdcd/page.crt", "page.crt"),
            "localhost:1",
            "web.secured.certificate: expected an absolute",
        ),
        (SECURED.partition("anna")[0], "localhost:1", "web.secured.users: empty"),
    ],
)
def test_what_does_not_fit_is_said(text: str, listen: str, said: str):
    (problem,) = config_web.problems(config(text, listen))
    assert problem.startswith(said)


def test_what_fits_is_quiet_and_plain_copies_have_names_too():
    copies = '[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = ["public.tax"]\n[web]\nkeys-shown = ["erp:public.tax"]'
    assert list(config_web.problems(config(copies + SECURED))) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:9145", "[::]:9145", "192.168.1.7:9145", "erp.internal:9145"])
def test_a_page_that_others_can_reach_is_warned_of_unless_it_is_said_to_be_meant(listen: str):
    (found,) = checks.findings(config("", listen))
    assert (found.severity, found.code) == ("warning", "page-open")
    assert list(checks.findings(config("[web]\nopen-to-network = true", listen))) == []


@pytest.mark.parametrize("listen", ["127.0.0.1:9145", "127.3.2.1:9145", "localhost:9145", "[::1]:9145"])
def test_a_page_of_this_machine_is_nothing_to_warn_of(listen: str):
    assert list(checks.findings(config("", listen))) == []


def test_a_secured_page_that_cannot_be_served_is_an_error_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate, key = self_signed(tmp_path)
    text = SECURED.replace("/etc/cdcd/page.crt", str(certificate)).replace("/etc/cdcd/page.key", str(key))
    monkeypatch.setenv("CDCD_PAGE_TEST", "short canary")
    assert list(checks.findings(config(text))) == []
    monkeypatch.setenv("CDCD_PAGE_TEST", "canary")
    (found,) = checks.findings(config(text))
    assert (found.severity, found.code, found.subject) == ("error", "page-password", "web.secured")
    assert "canary" not in found.message + found.remedy
    monkeypatch.setenv("CDCD_PAGE_TEST", "short canary")
    key.chmod(0o644)
    (found,) = checks.findings(config(text))
    assert "is open to other users" in found.message
    assert found.remedy.startswith("chmod 600 ")
    key.chmod(0o600)
    certificate.unlink()
    (found,) = checks.findings(config(text))
    assert (found.code, found.severity) == ("page-tls", "error")
