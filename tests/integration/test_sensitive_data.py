"""Sensitive data with a running daemon: encrypted on disk, masked in every view, another key, and forgotten for good."""

import json
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

CUSTOMER = """
[entities.customer]
key = ["email"]
create = ["shop"]
delete = ["shop"]
[entities.customer.fields]
email = {{ type = "text(100)"{sensitive} }}
name = {{ type = "text(200)", owner = "shop"{sensitive} }}
city = {{ type = "text(100)", owner = "shop" }}
[entities.customer.in.erp]
table = "partner"
columns = {{ email = "email", name = "name", city = "city" }}
[entities.customer.in.shop]
table = "customers"
columns = {{ email = "email", name = "full_name", city = "city" }}
"""
CANARIES = ("erika@example.org", "Erika", "Mustermann", "Musterfrau", "Doktor")
KEY, OTHER_KEY = "ab" * 32, "cd" * 32


class Customers(Line):
    """Customers of the shop, who are told to the ERP. With `key` they are sensitive."""

    def __init__(
        self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer, key: str | None = None
    ) -> None:
        marked = "" if key is None else ", sensitive = true"
        self.key_file = directory / "state-key"
        of_key = "" if key is None else f'[daemon.state-key]\nfile = "{self.key_file}"\n'
        if key is not None:
            self.write_key(self.key_file, key)
        super().__init__(directory, postgres, mariadb, more=CUSTOMER.format(sensitive=marked) + of_key)
        self.erp(
            "CREATE TABLE partner (id bigserial PRIMARY KEY, email text UNIQUE, name varchar(20), city varchar(5))"
        )
        self.shop(
            "CREATE TABLE customers (id bigint AUTO_INCREMENT PRIMARY KEY, email varchar(100) UNIQUE,"
            " full_name text, city text)"
        )

    @staticmethod
    def write_key(file: Path, key: str) -> None:
        file.touch(mode=0o600)
        file.write_text(key + "\n")

    def insert(self, email: str, name: str, city: str) -> None:
        self.shop(f"INSERT INTO customers (email, full_name, city) VALUES ('{email}', '{name}', '{city}')")

    def partners(self) -> list[tuple[Any, ...]]:
        return self.erp("SELECT email, name FROM partner ORDER BY email")

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What a command says for programs. It is carried out in this process: many of them are sooner done."""
        done = CliRunner().invoke(cli.cdcd, [*arguments, "--json"], env=self.environment)
        assert done.exit_code == code, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def said(self, *arguments: str) -> str:
        """Everything that a command says."""
        result = CliRunner().invoke(cli.cdcd, arguments, env=self.environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.stdout + result.stderr

    def kept(self) -> bytes:
        """Every file of the state directory as it is on disk."""
        files = [path for path in self.directory.path.rglob("*") if path.is_file() and not path.is_symlink()]
        return b"".join(path.read_bytes() for path in files)

    def live_with(self, email: str) -> None:
        """A customer comes, is changed, loses a change in the ERP against the shop."""
        self.insert(email, "Erika Mustermann", "Ulm")
        wait_until(lambda: (email, "Erika Mustermann") in self.partners(), "the customer arrived")
        self.shop(f"UPDATE customers SET full_name = 'Erika Musterfrau' WHERE email = '{email}'")
        wait_until(lambda: (email, "Erika Musterfrau") in self.partners(), "the change arrived")
        self.erp(f"UPDATE partner SET name = 'Doktor' WHERE email = '{email}'")
        wait_until(lambda: (email, "Erika Musterfrau") in self.partners(), "the ERP's change was reverted")

    def delete(self, email: str) -> None:
        self.shop(f"DELETE FROM customers WHERE email = '{email}'")
        wait_until(lambda: email not in dict(self.partners()), "the customer is gone from the ERP")
        done = self.cli("wait", "--timeout", "20s")
        assert done.returncode == 0, done.stdout + done.stderr


def canaries_in(text: str | bytes) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [canary for canary in CANARIES if canary.encode() in content]


@pytest.fixture
def encrypted(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Customers]:
    made = Customers(tmp_path, postgres, mariadb, KEY)
    try:
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()


@pytest.fixture
def plain(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Customers]:
    made = Customers(tmp_path, postgres, mariadb)
    try:
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()


def test_sensitive_values_are_on_no_disk_and_in_no_view_and_records_are_named_by_what_stands_for_them(
    encrypted: Customers,
):
    line, email = encrypted, CANARIES[0]
    line.live_with(email)
    line.insert("parked@example.org", "Erika Mustermann", "Hannover")
    line.insert("long@example.org", "Mustermann " * 5, "Bonn")
    wait_until(lambda: line.answer("parked", "list")["result"]["count"] == 2, "what is too long is parked")
    assert canaries_in(line.kept()) == []
    assert stat.S_IMODE(line.directory.journal.stat().st_mode) == 0o600

    tokens = [record["key"][0] for record in line.answer("parked", "list")["result"]["records"]]
    assert all(token.startswith("~") for token in tokens)
    shows = {token: line.answer("parked", "show", "customer", token)["result"][0] for token in tokens}
    by_city = {shown["fields"][2]["value"]: token for token, shown in shows.items()}
    token = by_city["Hannover"]
    assert {f["field"]: f["value"] for f in shows[token]["fields"]} == {
        "email": "(sensitive)", "name": "(sensitive)", "city": "Hannover",
    }  # fmt: skip
    history = line.answer("history", "customer", email)["result"]
    (name,) = history["key"]
    assert history == line.answer("history", "customer", name)["result"], "the same by what stands for the key"
    assert [f["value"] for f in history["fields"]] == ["(sensitive)", "(sensitive)", "Ulm"]
    views = [
        ("parked", "list"),
        ("parked", "list", "--json"),
        ("parked", "show", "customer", token),
        ("parked", "show", "customer", by_city["Bonn"], "--json"),
        ("history", "customer", by_city["Bonn"]),
        ("history", "customer", name, "--json"),
        ("history", "customer", name, "name"),
        ("history", "customer", "~000000000000"),
        ("conflicts", "list", "--kept", "--json"),
        ("conflicts", "show", "customer", name),
        ("conflicts", "show", "customer", name, "--json"),
        ("journal", "tail", "--values", "-n", "100"),
        ("journal", "tail", "--values", "-n", "100", "--json"),
        ("journal", "export"),
        ("plan", "--last", "1000"),
        ("plan", "--last", "1000", "--json"),
        ("status",),
    ]
    for view in views:
        told = line.said(*view)
        assert len(told) > 40, view
        assert canaries_in(told) == [], view
        assert "parked@example.org" not in told, view
        assert " 55 " not in told, "nor how long it is"
    assert "(sensitive)" in line.said("journal", "export")
    assert "Ulm" in line.said("journal", "tail", "--values")
    assert "(sensitive)" in line.said("conflicts", "show", "customer", name)
    assert canaries_in(line.log.read_bytes()) == []

    assert line.answer("resync", "customer", "--key", name, "--dry-run")["result"]["found"] == {"erp": 1, "shop": 1}
    bundle = line.config.with_name("bundle.tar.gz")
    line.said("support-bundle", "-o", str(bundle))
    with tarfile.open(bundle) as tar:
        parts = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert canaries_in(b"".join(parts.values())) == []
    (files,) = [json.loads(content) for name, content in parts.items() if name.endswith("files.json")]
    assert files["journal.db"]["rows"]["entries"] > 0, "it can read what is encrypted"

    script = line.config.with_name("editor")
    script.write_text("#!/bin/sh\ncat $1 >> $1.seen; sed -i 's/\"Hannover\"/\"Trier\"/' $1; touch -d '+2 seconds' $1\n")
    script.chmod(0o755)
    line.environment["EDITOR"] = str(script)
    said = line.said("parked", "edit", "customer", token, "--yes")
    assert "Trier" in said
    assert canaries_in(said) == []
    wait_until(lambda: line.shop("SELECT city FROM customers WHERE city = 'Trier'"), "the owner is told of the edit")
    wait_until(lambda: ("parked@example.org", "Erika Mustermann") in line.partners(), "a mask keeps the value")


def test_the_key_is_needed_changed_and_taken_away_again(encrypted: Customers):
    line = encrypted
    line.live_with(CANARIES[0])
    assert line.answer("rekey", "--yes", code=3)["error"]["code"] == "already-running"
    assert line.end() == 0
    old = line.key_file.rename(line.key_file.with_name("old-key"))
    line.write_key(line.key_file, OTHER_KEY)
    refusal = line.answer("history", "customer", CANARIES[0], code=3)["error"]
    assert refusal["code"] == "state-key-wrong"
    assert KEY not in str(refusal)
    assert line.answer("rekey", "--yes", code=3)["error"]["code"] == "rekey-key"
    assert "nothing was done" in line.said("rekey", "--old-key-file", str(old), "--dry-run")
    changed = line.answer("rekey", "--old-key-file", str(old), "--yes")["result"]["changed"]
    assert {"journal.db", "state.db", "deliver-erp.db", "deliver-shop.db"} <= set(changed)
    assert canaries_in(line.kept()) == []
    line.start()
    line.insert("next@example.org", "Next", "Kiel")
    wait_until(lambda: ("next@example.org", "Next") in line.partners(), "it goes on with the other key")
    assert line.end() == 0
    text = line.config.read_text().replace(", sensitive = true", "")
    line.config.write_text(text.partition("[daemon.state-key]")[0])
    assert line.answer("status", code=3)["error"]["code"] == "state-key-missing"
    line.answer("rekey", "--old-key-file", str(line.key_file), "--yes")
    assert canaries_in(line.kept()) == list(CANARIES), "plain again"
    line.start()
    line.insert("third@example.org", "Third", "Kiel")
    wait_until(lambda: ("third@example.org", "Third") in line.partners(), "and goes on plain")


def test_a_person_is_forgotten_beside_the_running_daemon_and_while_none_runs(plain: Customers):
    line, email = plain, CANARIES[0]
    line.live_with(email)
    line.insert("other@example.org", "Other", "Bonn")
    refusal = line.answer("forget", "customer", email, "--yes", code=3)["error"]
    assert refusal["code"] == "forget-alive"
    line.delete(email)
    assert set(CANARIES) - {"Doktor"} <= set(canaries_in(line.kept()))
    kept = line.answer("forget", "customer", email, "--dry-run")["result"]["kept"]
    assert kept["golden"] == 1
    assert kept["history"] >= 4
    line.answer("forget", "customer", email, code=1)  # nobody can be asked
    (done,) = line.answer("forget", "customer", email, "--yes")["result"]["forgotten"]
    assert done["counts"]["journal"] >= 5
    assert canaries_in(line.kept()) == []
    assert line.answer("journal", "verify")["ok"]
    assert canaries_in(line.said("history", "customer", "erik@example.org")) == []
    (listed,) = line.answer("forget", "--list")["result"]["forgotten"]
    assert listed == done
    assert line.answer("forget", "customer", email, "--yes", code=3)["error"]["code"] == "forget-unknown"
    assert "was forgotten" in line.said("forget", "customer", email, "--yes")

    line.insert("second@example.org", "Erika Mustermann", "Kiel")
    wait_until(lambda: ("second@example.org", "Erika Mustermann") in line.partners(), "changes flow as before")
    line.delete("second@example.org")
    assert line.end() == 0
    line.answer("forget", "customer", "second@example.org", "--yes")
    assert b"second@example.org" not in line.kept()
    assert canaries_in(line.kept()) == []
    assert line.answer("history", "customer", "other@example.org")["result"]["alive"]
    line.start()
    line.insert("third@example.org", "Third", "Kiel")
    wait_until(lambda: ("third@example.org", "Third") in line.partners(), "and after a start")
    assert len(line.answer("forget", "--list")["result"]["forgotten"]) == 2
