"""TLS to a real PostgreSQL: who it is is proved or nothing is sent; passwords do not leave as text."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from cdcd.adapter import Identity
from cdcd.errors import CdcdError
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import Options, adapter, encryption
from security.authority import Authority, Certificate, place

IDENTITY = Identity("line", "erp", "lineage")
HBA = """hostssl all certified 127.0.0.1/32 cert
host all spelled 127.0.0.1/32 password
host all all 127.0.0.1/32 trust
"""


class Encrypted:
    """A server with a certificate for "localhost", and the authority that it is of."""

    def __init__(self, server: PostgresServer, directory: Path) -> None:
        self.server = server
        self.trusted = Authority(directory, "trusted")
        self.unknown = Authority(directory, "unknown")
        self.right = self.trusted.issue("server", host="localhost")
        self.place = server.directory / "tls"
        self.show(self.right)
        (self.place / "ca.crt").write_bytes(self.trusted.own.certificate.read_bytes())
        files = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "ca.crt"}
        for setting, file in files.items():
            server.execute("postgres", f"ALTER SYSTEM SET {setting} = '{self.place / file}'")
        server.execute("postgres", "ALTER SYSTEM SET ssl = on")
        server.execute("postgres", "SELECT pg_reload_conf()")

    def show(self, certificate: Certificate) -> None:
        place(certificate, self.place, self.server.account.pw_uid)
        self.server.execute("postgres", "SELECT pg_reload_conf()")

    def connect(self, mode: str, host: str = "localhost", user: str = "postgres", more: str = "") -> str:
        """How the connection is encrypted, as the server sees it."""
        dsn = f"host={host} port={self.server.port} dbname=postgres user={user} sslmode={mode}"
        options = Options(dsn=f"{dsn} sslrootcert={self.trusted.own.certificate} {more}")
        reader = adapter.open_reader(IDENTITY, options)
        try:
            reader.catalog()
            sql = "SELECT coalesce(max(s.version), 'plain') FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid)"
            found = self.server.execute("postgres", f"{sql} WHERE application_name = 'cdcd'")
            return str(found[0][0])
        finally:
            reader.close()

    def refused(self, mode: str, **options: str) -> str:
        with pytest.raises(CdcdError) as caught:
            self.connect(mode, **options)
        return str(caught.value)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    with PostgresServer() as server:
        if not server.execute("postgres", "SHOW ssl_library")[0][0]:
            pytest.skip("this PostgreSQL was built without TLS")
        made = Encrypted(server, tmp_path_factory.mktemp("authorities"))
        hba = server.directory / "data" / "pg_hba.conf"
        hba.write_text(HBA)
        server.execute("postgres", "CREATE ROLE certified LOGIN; CREATE ROLE spelled LOGIN PASSWORD 's3cret'")
        server.execute("postgres", "SELECT pg_reload_conf()")
        yield made


def test_a_server_that_proves_its_name_is_talked_to_encrypted(encrypted: Encrypted):
    for mode in ("require", "verify-ca", "verify-full"):
        assert encrypted.connect(mode).startswith("TLSv1.3"), mode


def test_another_name_another_authority_and_an_old_certificate_are_refused(encrypted: Encrypted):
    assert "does not match host name" in encrypted.refused("verify-full", host="127.0.0.1")
    assert encrypted.connect("verify-ca", host="127.0.0.1").startswith("TLS")
    try:
        encrypted.show(encrypted.unknown.issue("server", host="localhost"))
        assert "certificate verify failed" in encrypted.refused("verify-full")
        assert "certificate verify failed" in encrypted.refused("verify-ca")
        encrypted.show(encrypted.trusted.issue("server", host="localhost", days=-1))
        assert "certificate" in encrypted.refused("verify-full")
    finally:
        encrypted.show(encrypted.right)
    assert encrypted.connect("verify-full")


def test_a_role_that_must_show_a_certificate_is_let_in_with_its_own(encrypted: Encrypted):
    own = encrypted.trusted.issue("certified")
    shown = f"sslcert={own.certificate} sslkey={own.key}"
    assert encrypted.connect("verify-full", user="certified", more=shown).startswith("TLS")
    assert "certificate" in encrypted.refused("verify-full", user="certified", more="sslcertmode=disable")
    strangers = encrypted.unknown.issue("certified")
    encrypted.refused("verify-full", user="certified", more=f"sslcert={strangers.certificate} sslkey={strangers.key}")


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres: PostgresServer):
    options = Options(dsn=f"{postgres.dsn()} sslmode=require")
    reader = adapter.open_reader(IDENTITY, options)
    with pytest.raises(CdcdError, match="does not support SSL"):
        reader.catalog()
    reader.close()


def test_a_password_as_text_is_not_given_to_whoever_answers(encrypted: Encrypted):
    """The parameter that far hosts get; here, where the host is near, it is given by hand."""
    far = {"host": "erp.internal"}
    assert encryption.defaults(far, {}, psycopg.pq.version()) == {"require_auth": "!password"}
    assert encryption.defaults({**far, "sslmode": "verify-full"}, {}, psycopg.pq.version()) == {}
    assert encryption.defaults({"host": "127.0.0.1"}, {}, psycopg.pq.version()) == {}
    said = encrypted.refused("disable", user="spelled", more="password=s3cret require_auth=!password")
    assert "s3cret" not in said
    assert encrypted.connect("verify-full", user="spelled", more="password=s3cret")


@pytest.mark.parametrize(
    ("parameters", "is_local", "proves"),
    [
        ({}, True, False),
        ({"host": "/run/postgresql"}, True, False),
        ({"host": "localhost"}, True, False),
        ({"host": "::1"}, True, False),
        ({"host": "erp.internal"}, False, False),
        ({"host": "erp.internal", "hostaddr": "127.0.0.1"}, True, False),
        ({"host": "localhost,erp.internal"}, False, False),
        ({"host": "10.0.0.5", "sslmode": "require"}, False, False),
        ({"host": "10.0.0.5", "sslmode": "verify-ca"}, False, True),
        ({"host": "10.0.0.5", "channel_binding": "require"}, False, True),
    ],
)
def test_whether_a_connection_leaves_the_machine_and_is_proved(parameters: dict, is_local: bool, proves: bool):
    assert encryption.is_local(parameters, {}) is is_local
    assert encryption.proves(parameters, {}) is proves
    assert encryption.proves(parameters, {"PGSSLMODE": "verify-full"}) is (proves or "sslmode" not in parameters)


def test_check_warns_of_a_server_elsewhere_that_proves_nothing(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(encryption, "is_local", lambda *_: False)
    options = Options(dsn=postgres.dsn())
    for changed, expected in ((options, 1), (msgspec.structs.replace(options, dsn=f"{options.dsn} sslmode=prefer"), 1)):
        target = adapter.open_target(IDENTITY, changed)
        found = [finding for finding in target.check([]) if finding.code == "tls-unverified"]
        target.close()
        assert len(found) == expected
        assert found[0].severity == "warning"
        assert "verify-full" in found[0].remedy


def test_no_test_reads_another_environment():
    assert not {"PGSSLMODE", "PGHOST", "PGREQUIREAUTH"} & os.environ.keys()
