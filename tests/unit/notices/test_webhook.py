"""Messages as HTTP POSTs: what arrives, what is verified, what counts as a failure."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest

from cdcd.config import Secret
from cdcd.errors import ConfigError
from cdcd.notices.channels import Webhook
from cdcd.notices.failures import NotTold, Unfit
from cdcd.notices.messages import letter
from cdcd.notices.store import Message
from cdcd.notices.webhook import post
from unit.notices.sinks import NOW, STOPPED, certificate, http_sink

LETTER = letter("acme", [Message(3, "begun", NOW, 0, STOPPED)])


def failure(options: Webhook) -> str:
    with pytest.raises(NotTold) as caught:
        post(options, LETTER, "1")
    return caught.value.what


def test_a_message_arrives_with_its_id_its_headers_and_a_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key = tmp_path / "key"
    key.write_text("sign-s3cret\n")
    key.chmod(0o600)
    monkeypatch.setenv("HOOK_TOKEN", "Bearer t0ken")
    with http_sink() as sink:
        headers = {"Authorization": Secret(env="HOOK_TOKEN"), "X-Team": "erp"}
        post(Webhook(f"http://127.0.0.1:{sink.port}/x", headers, Secret(file=str(key))), LETTER, "1.2")
    ((headers_seen, body),) = sink.posted
    assert headers_seen["Authorization"] == "Bearer t0ken"
    assert headers_seen["X-Team"] == "erp"
    assert headers_seen["Content-Type"] == "application/json"
    assert headers_seen["User-Agent"] == "cdcd/1.2"
    assert headers_seen["Idempotency-Key"] == json.loads(body)["id"] == LETTER.id
    stamp, _, digest = headers_seen["X-Cdcd-Signature"].partition(",")
    signed = stamp.removeprefix("t=").encode() + b"." + body
    assert digest == "v1=" + hmac.new(b"sign-s3cret", signed, hashlib.sha256).hexdigest()


def test_a_url_that_is_a_secret_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch):
    with http_sink() as sink:
        monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{sink.port}/T0KEN")
        post(Webhook(Secret(env="HOOK_URL")), LETTER, "1")
        monkeypatch.setenv("HOOK_URL", "file:///etc/passwd")
        assert "https://" in failure(Webhook(Secret(env="HOOK_URL")))
        monkeypatch.delenv("HOOK_URL")
        with pytest.raises(ConfigError):
            post(Webhook(Secret(env="HOOK_URL")), LETTER, "1")
    assert len(sink.posted) == 1


def test_a_certificate_that_is_not_known_or_for_another_host_is_refused(tmp_path: Path):
    ours, other = certificate(tmp_path), certificate(tmp_path, "elsewhere.test")
    with http_sink(tls=ours) as sink:
        url = f"https://localhost:{sink.port}/"
        assert "certificate verify failed" in failure(Webhook(url)).lower().replace("_", " ")
        post(Webhook(url, ca=str(ours[0])), LETTER, "1")
    with http_sink(tls=other) as sink:
        assert "TLS" in failure(Webhook(f"https://localhost:{sink.port}/", ca=str(other[0])))
    assert "no file of certificates" in failure(Webhook(url, ca=str(tmp_path / "none.pem")))


@pytest.mark.parametrize(
    ("status", "is_for_good"), [(500, False), (401, False), (429, False), (400, True), (413, True)]
)
def test_what_is_not_taken_is_a_failure_and_some_of_it_for_good(status: int, is_for_good: bool):
    with http_sink(answers=(status,)) as sink, pytest.raises(NotTold) as caught:
        post(Webhook(f"http://127.0.0.1:{sink.port}/s3cret-path"), LETTER, "1")
    assert str(status) in caught.value.what
    assert isinstance(caught.value, Unfit) == is_for_good
    assert "s3cret-path" not in str(caught.value)


def test_a_redirect_is_not_followed():
    with http_sink(answers=(307,)) as sink:
        assert "307" in failure(Webhook(f"http://127.0.0.1:{sink.port}/"))
    assert len(sink.posted) == 1


def test_a_receiver_that_hangs_or_is_not_there_is_a_failure_without_the_url():
    with http_sink(answers=(None,)) as sink:
        assert "no answer" in failure(Webhook(f"http://127.0.0.1:{sink.port}/s3cret-path", timeout="200ms"))
        port = sink.port
    said = failure(Webhook(f"http://127.0.0.1:{port}/s3cret-path"))
    assert said == "Connection refused"
