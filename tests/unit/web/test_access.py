"""Passwords, tokens, and who tries too often."""

import base64
from pathlib import Path

import pytest

from cdcd.config import Secret
from cdcd.errors import ConfigError
from cdcd.web import access
from cdcd.web.access import Throttle, Tokens, Users

PASSWORD = "correct horse, bättery: staple"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_who_has_the_password_is_let_in_and_nobody_else():
    users = Users({"anna": PASSWORD, "bert": "another password"})
    assert users.name(basic("anna", PASSWORD)) == "anna"
    assert users.name(basic("bert", "another password")) == "bert"
    for header in (
        "",
        "Basic",
        "Basic %%%",
        "Bearer " + PASSWORD,
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        basic("anna", ""),
        basic("anna", PASSWORD + "x"),
        basic("anna", "another password"),
        basic("eve", PASSWORD),
        basic("", ""),
        "Basic " + base64.b64encode(b"anna").decode(),
    ):
        assert users.name(header) is None


def test_passwords_come_from_where_secrets_are_kept_and_are_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PAGE_ANNA", PASSWORD)
    assert access.passwords({"anna": Secret(env="PAGE_ANNA")}) == {"anna": PASSWORD}
    file = tmp_path / "short"
    file.write_text("elevenchars")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="too short") as caught:
        access.passwords({"anna": Secret(file=str(file))})
    assert "elevenchars" not in str(caught.value)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="open to other users"):
        access.passwords({"anna": Secret(file=str(file))})


def test_who_fails_too_often_waits_and_others_do_not():
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(access.FAILURES_MAX):
        assert throttle.wait_seconds("10.0.0.9") == 0
        throttle.failed("10.0.0.9")
    assert throttle.wait_seconds("10.0.0.9") == pytest.approx(access.FAILURES_SECONDS)
    assert throttle.wait_seconds("10.0.0.1") == 0
    clock.now += access.FAILURES_SECONDS + 1
    assert throttle.wait_seconds("10.0.0.9") == 0


def test_the_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "_ADDRESSES_MAX", 3)
    throttle = Throttle(Clock())
    for number in range(10):
        for _ in range(access.FAILURES_MAX + 5):
            throttle.failed(f"10.0.0.{number}")
    assert list(throttle._failures) == ["10.0.0.7", "10.0.0.8", "10.0.0.9"]
    assert {len(moments) for moments in throttle._failures.values()} == {access.FAILURES_MAX}


def test_a_token_is_good_once_for_one_person_and_one_wish():
    clock = Clock()
    tokens = Tokens(clock)
    token = tokens.issue("anna", "verb=pause&name=shop")
    assert not tokens.spend(token, "bert", "verb=pause&name=shop")
    assert not tokens.spend(token, "anna", "verb=pause&name=erp")
    assert not tokens.spend(token[:-1] + ("0" if token[-1] != "0" else "1"), "anna", "verb=pause&name=shop")
    assert tokens.spend(token, "anna", "verb=pause&name=shop")
    assert not tokens.spend(token, "anna", "verb=pause&name=shop")
    for forged in ("", "..", "1.2.3", "é", Tokens(clock).issue("anna", "verb=pause&name=shop")):
        assert not tokens.spend(forged, "anna", "verb=pause&name=shop")


def test_a_token_is_good_for_ten_minutes():
    clock = Clock()
    tokens = Tokens(clock)
    token = tokens.issue("anna", "x")
    clock.now += access.TOKEN_SECONDS + 1
    assert not tokens.spend(token, "anna", "x")
