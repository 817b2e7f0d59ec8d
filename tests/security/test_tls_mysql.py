"""TLS to a real MariaDB (or MySQL): who it is is proved or nothing is sent, and our own certificate is shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymysql.connections import Connection

from cdcd.adapter import Identity
from cdcd.config import Secret
from cdcd.errors import CdcdError, ConfigError
from cdcd.testing.servers import MySqlFamilyServer, mysql_family_server
from cdcd_mysql import Options, adapter
from cdcd_mysql.connection import BulkConnection
from cdcd_mysql.preflight_context import encryption_findings
from cdcd_mysql.session import Session
from security.authority import Authority, Certificate, place

IDENTITY = Identity("line", "shop", "lineage")
USERS = """
CREATE USER plain@'127.0.0.1' IDENTIFIED BY 's3cret';
CREATE USER encrypted@'127.0.0.1' IDENTIFIED BY 's3cret' REQUIRE SSL;
CREATE USER certified@'127.0.0.1' IDENTIFIED BY 's3cret' REQUIRE X509;
"""


class Encrypted:
    """A server with a certificate for "localhost", and the authority that it is of."""

    def __init__(self, server: MySqlFamilyServer, directory: Path) -> None:
        self.server = server
        self.trusted = Authority(directory, "trusted")
        self.unknown = Authority(directory, "unknown")
        self.right = self.trusted.issue("server", host="localhost")
        self.place = server.directory / "tls"
        for name in ("cert", "key", "ca"):
            file = {"cert": "server.crt", "key": "server.key", "ca": "ca.crt"}[name]
            server.settings[f"ssl-{name}"] = str(self.place / file)
        self._place(self.right, self.trusted)

    def _place(self, certificate: Certificate, authority: Authority) -> None:
        place(certificate, self.place, self.server.account.pw_uid)
        (self.place / "ca.crt").write_bytes(authority.own.certificate.read_bytes())

    def show(self, certificate: Certificate, authority: Authority) -> None:
        self._place(certificate, authority)
        self.server.execute("FLUSH SSL" if self.server.is_mariadb else "ALTER INSTANCE RELOAD TLS")

    def connect(
        self, mode: str, host: str = "localhost", user: str = "plain", kind: type = Connection, **more: str
    ) -> str:
        """How the connection is encrypted, as the server says; "" where it is not."""
        options = Options(
            database="mysql" if user == "root" else "information_schema",
            user=user,
            host=host,
            port=self.server.port,
            tls=mode,
            tls_ca=str(self.trusted.own.certificate) if mode.startswith("verify") else None,
            password=Secret(env="TLS_TEST_PASSWORD"),
            **more,
        )
        session = Session(options, kind=kind)
        try:
            return str(session.rows("SHOW SESSION STATUS LIKE 'Ssl_version'", "look")[0][1])
        finally:
            session.close()

    def refused(self, mode: str, **options: str | type) -> str:
        with pytest.raises(CdcdError) as caught:
            self.connect(mode, **options)
        assert "s3cret" not in str(caught.value)
        return str(caught.value)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    server = mysql_family_server()
    made = Encrypted(server, tmp_path_factory.mktemp("authorities"))
    with server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLS_TEST_PASSWORD", "s3cret")
        server.execute(USERS)
        yield made


def test_a_server_that_proves_its_name_is_talked_to_encrypted(encrypted: Encrypted):
    for mode in ("prefer", "require", "verify-ca", "verify-full"):
        assert encrypted.connect(mode).startswith("TLS"), mode
    assert encrypted.connect("off") == ""
    assert encrypted.connect("verify-full", user="encrypted").startswith("TLS")
    encrypted.refused("off", user="encrypted")


def test_a_connection_that_offers_more_than_mysqls_protocol_is_encrypted_as_others(encrypted: Encrypted):
    for mode in ("prefer", "require", "verify-ca", "verify-full"):
        assert encrypted.connect(mode, kind=BulkConnection).startswith("TLS"), mode
    assert encrypted.connect("off", kind=BulkConnection) == ""
    assert "[tls]" in encrypted.refused("verify-full", host="127.0.0.1", kind=BulkConnection)


def test_another_name_another_authority_and_an_old_certificate_are_refused(encrypted: Encrypted):
    assert "[tls]" in encrypted.refused("verify-full", host="127.0.0.1")
    assert encrypted.connect("verify-ca", host="127.0.0.1").startswith("TLS")
    try:
        encrypted.show(encrypted.unknown.issue("server", host="localhost"), encrypted.unknown)
        assert "[tls]" in encrypted.refused("verify-full")
        assert "[tls]" in encrypted.refused("verify-ca")
        if encrypted.server.is_mariadb:  # MySQL itself does not take one of the past
            encrypted.show(encrypted.trusted.issue("server", host="localhost", days=-1), encrypted.trusted)
            assert "[tls]" in encrypted.refused("verify-full")
    finally:
        encrypted.show(encrypted.right, encrypted.trusted)
    assert encrypted.connect("verify-full").startswith("TLS")


def test_an_account_that_must_show_a_certificate_is_let_in_with_its_own(encrypted: Encrypted):
    own = encrypted.trusted.issue("certified")
    shown = {"tls_cert": str(own.certificate), "tls_key": str(own.key)}
    assert encrypted.connect("verify-full", user="certified", **shown).startswith("TLS")
    encrypted.refused("verify-full", user="certified")
    own.key.chmod(0o640)
    assert "open to other users" in encrypted.refused("verify-full", user="certified", **shown)
    own.key.chmod(0o600)
    shown["tls_key"] = str(encrypted.trusted.own.key)
    assert "[tls-file]" in encrypted.refused("verify-full", user="certified", **shown)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TLS_TEST_PASSWORD", "s3cret")
    off = {"disable-ssl": "ON"} if mysql_family_server().is_mariadb else {"tls-version": ""}
    server = mysql_family_server(settings=off)
    with server:
        server.execute(USERS.splitlines()[1])
        options = Options(
            database="information_schema", user="plain", host="127.0.0.1", port=server.port, tls="require",
            password=Secret(env="TLS_TEST_PASSWORD"),
        )  # fmt: skip
        with pytest.raises(CdcdError, match="SSL is required"):
            Session(options)


def test_a_file_that_is_no_certificate_says_so(tmp_path: Path):
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(ConfigError) as caught:
        Options(database="d", user="u", tls="verify-full", tls_ca=str(tmp_path / "ca")).tls_context()
    assert caught.value.code == "tls-file"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"host": "127.0.0.1", "tls": "off"}, 0),
        ({"unix_socket": "/run/mysqld/mysqld.sock", "host": "shop.internal"}, 0),
        ({"host": "shop.internal"}, 1),
        ({"host": "shop.internal", "tls": "require"}, 1),
        ({"host": "shop.internal", "tls": "verify-ca"}, 0),
    ],
)
def test_check_warns_of_a_server_elsewhere_that_proves_nothing(options: dict[str, str], expected: int):
    found = list(encryption_findings(IDENTITY, Options(database="shop", user="cdcd", **options)))
    assert [finding.code for finding in found] == ["tls-unverified"] * expected


def test_check_looks_at_the_encryption(mariadb: MySqlFamilyServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Options, "is_local", False)
    options = Options(database="mysql", user="root", host="127.0.0.1", port=mariadb.port, tls="off")
    found = adapter.open_target(IDENTITY, options).check([])
    assert [finding.severity for finding in found if finding.code == "tls-unverified"] == ["warning"]
