"""What leaves the machine has no secret in it, and says still where secrets are kept."""

import tomllib

import pytest

from cdcd import redaction

CONFIG = """
[daemon]
name = "acme"
[systems.erp]
adapter = "postgres"
dsn = "postgresql://cdcd:s3cret-one@db/erp?sslpassword=s3cret-two"
[systems.shop]
adapter = "mysql"
host = "db"
port = 3306
user = "cdcd"
password = { env = "SHOP_PASSWORD" }
[systems.other]
adapter = "other"
dsn = "host=db password='s3cret three' user=cdcd"
api-key = "s3cret-four"
nested = { token = "s3cret-five", retries = 3 }
[entities.product]
key = ["sku"]
"""


def test_a_configuration_keeps_its_shape_and_loses_its_secrets():
    shown = redaction.configuration(tomllib.loads(CONFIG))
    assert "s3cret" not in str(shown)
    assert shown["systems"]["shop"] == {
        "adapter": "mysql",
        "host": "db",
        "port": 3306,
        "user": "cdcd",
        "password": {"env": "SHOP_PASSWORD"},
    }
    assert shown["systems"]["erp"]["dsn"].startswith("postgresql://cdcd:***@db/erp")
    assert shown["systems"]["other"]["nested"] == {"token": "***", "retries": 3}
    assert shown["entities"] == {"product": {"key": ["sku"]}}


def test_where_notifications_go_is_not_shown_because_it_may_be_a_secret():
    page = {"severity": "warning", "webhook": {"url": "https://chat.test/T0KEN", "sign": {"env": "KEY"}}}
    mail = {"email": {"server": "mail.test:587", "to": ["ops@acme.test"]}}
    shown = redaction.configuration({"notify": {"page": page, "mail": mail}})["notify"]
    assert shown["page"]["webhook"] == {"url": "***", "sign": {"env": "KEY"}}
    assert shown["mail"]["email"] == {"server": "***", "to": ["***"]}


def test_the_secrets_that_it_refers_to_are_known(monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "from the environment")
    found = redaction.secrets_of(tomllib.loads(CONFIG))
    assert found >= {"from the environment", "s3cret-one", "s3cret-two", "s3cret three", "s3cret-five"}
    assert redaction.without("x from the environment y", found) == "x *** y"


def test_a_secret_that_cannot_be_read_stops_nothing(monkeypatch):
    monkeypatch.delenv("SHOP_PASSWORD", raising=False)
    assert "s3cret-one" in redaction.secrets_of(tomllib.loads(CONFIG))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://u:pw@host/db", "mysql://u:***@host/db"),
        ("password=pw, next", "password=***, next"),
        ('db_password: "p w" x', "db_password: *** x"),
        ("CREATE USER x IDENTIFIED BY 'p''w'", "CREATE USER x IDENTIFIED BY '***'"),
        ("at=2026-11-22T08:00:07 level=info role=resolve", "at=2026-11-22T08:00:07 level=info role=resolve"),
    ],
)
def test_what_looks_like_a_password_is_taken_out_of_text(text, shown):
    assert redaction.text(text) == shown


def test_a_unit_shows_no_environment_and_no_credential():
    unit = "[Service]\nEnvironment=A=b \\\n  C=d\nSetCredential=x:y\nLoadCredential=erp:/etc/x\nExecStart=cdcd run\n"
    shown = redaction.unit(unit)
    assert shown == "[Service]\nEnvironment=***\nSetCredential=***\nLoadCredential=erp:/etc/x\nExecStart=cdcd run\n"
