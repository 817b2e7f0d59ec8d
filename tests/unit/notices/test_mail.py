"""Messages as mail: what arrives, over what, and what counts as a failure."""

import email
import email.policy
import socket
from pathlib import Path

import msgspec
import pytest

from cdcd.config import Secret
from cdcd.notices.channels import Email
from cdcd.notices.failures import NotTold, Unfit
from cdcd.notices.mail import composed, send
from cdcd.notices.messages import letter
from cdcd.notices.store import Message
from unit.notices.sinks import NOW, SECOND, STOPPED, certificate, smtp_sink

BEGUN = letter("acme", [Message(3, "begun", NOW, 0, STOPPED)])
ENDED = letter("acme", [Message(4, "ended", NOW, 0, msgspec.structs.replace(STOPPED, ended_at_us=NOW + 65 * SECOND))])


def options(port: int, **changes: object) -> Email:
    plain = Email(f"127.0.0.1:{port}", "cdcd@acme.test", ["ops@acme.test", "erp@acme.test"], tls="off", timeout="5s")
    return msgspec.structs.replace(plain, **changes)


def failure(to: Email) -> str:
    with pytest.raises(NotTold) as caught:
        send(to, BEGUN)
    return caught.value.what


def test_a_mail_says_what_happened_and_what_to_do():
    with smtp_sink() as (port, mailbox):
        send(options(port), BEGUN)
    ((sender, recipients, content),) = mailbox.mails
    assert (sender, recipients) == ("cdcd@acme.test", ["ops@acme.test", "erp@acme.test"])
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert mail["Subject"] == "[cdcd acme] critical: deliver:shop has stopped"
    assert mail["X-Cdcd-Id"] == BEGUN.id
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert "next: cdcd resume shop" in text
    assert "[worker-stopped]" in text


def test_the_end_refers_to_the_beginning_and_says_how_long_it_lasted():
    begun, ended = composed(options(25), BEGUN), composed(options(25), ENDED)
    assert ended["References"] == ended["In-Reply-To"] == begun["Message-ID"]
    assert ended["Message-ID"] != begun["Message-ID"]
    assert ended["Subject"] == "[cdcd acme] resolved: critical: deliver:shop has stopped"
    assert "(2 min 5 s)" in ended.get_content()


def test_starttls_and_login_with_a_verified_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tls = certificate(tmp_path)
    monkeypatch.setenv("MAIL_PASSWORD", "mail-s3cret")
    with smtp_sink(tls=tls, auth=True) as (port, mailbox):
        secured = options(port, tls="starttls", user="cdcd", password=Secret(env="MAIL_PASSWORD"), ca=str(tls[0]))
        send(secured, BEGUN)
        assert mailbox.logins == [(b"cdcd", b"mail-s3cret")]
        assert len(mailbox.mails) == 1
        assert "certificate" in failure(msgspec.structs.replace(secured, ca=None))
        monkeypatch.setenv("MAIL_PASSWORD", "wr0ng")
        assert failure(secured) == "the server does not take user and password (535)"
        assert len(mailbox.mails) == 1


def test_a_server_without_starttls_gets_neither_password_nor_mail(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAIL_PASSWORD", "mail-s3cret")
    with smtp_sink() as (port, mailbox):
        secured = options(port, tls="starttls", user="cdcd", password=Secret(env="MAIL_PASSWORD"))
        assert "STARTTLS" in failure(secured)
    assert mailbox.mails == []


@pytest.mark.parametrize(("answer", "is_for_good"), [("552 too long", True), ("451 try later", False)])
def test_a_mail_that_is_not_taken_is_a_failure(answer: str, is_for_good: bool):
    with smtp_sink(refusal=answer) as (port, _), pytest.raises(NotTold) as caught:
        send(options(port), BEGUN)
    assert isinstance(caught.value, Unfit) == is_for_good


def test_a_server_that_says_nothing_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert failure(options(port, timeout="200ms")) == "the server hung up, or did not answer within 200ms"
    assert failure(options(port)) == "Connection refused"


def test_no_text_can_add_a_header():
    smuggler = msgspec.structs.replace(STOPPED, text="a\r\nBcc: thief@acme.test\n")
    mail = composed(options(25), letter("acme", [Message(3, "begun", NOW, 0, smuggler)]))
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
