"""`cdcd init` on real servers: the demo's ERP and shop, and a file that 'cdcd check' takes as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymysql.cursors import DictCursor

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.erp_and_shop import ITEM, PRODUCTS

DEMO = Path(__file__).resolve().parents[2] / "config" / "demo"
NAME = "cdcd_init"


@pytest.fixture(scope="module")
def urls(postgres: PostgresServer, mariadb: MySqlFamilyServer) -> dict[str, str]:
    """Both databases of the demo with its opening data; the account may read and write."""
    from demo import erp, shop  # noqa: PLC0415 - drivers
    from demo.opening import Opening  # noqa: PLC0415

    opening = Opening(Random(3), 60)
    for server in (postgres, mariadb):
        server.create_database(NAME)
    postgres.execute(NAME, (DEMO / "erp.sql").read_text("utf-8"))
    mariadb.execute((DEMO / "shop.sql").read_text("utf-8"), NAME)
    mariadb.execute(f"CREATE USER {NAME}@'127.0.0.1' IDENTIFIED BY 's3cret'; GRANT ALL ON *.* TO {NAME}@'127.0.0.1'")
    with erp.connect(postgres.dsn(NAME)) as connection:
        erp.load(connection, opening.erp)
    with mariadb.connect(NAME) as shop_connection:
        shop_connection.cursorclass = DictCursor
        shop.load(shop_connection, opening.shop)
        shop_connection.commit()
    return {
        "--erp": f"postgres://postgres@127.0.0.1:{postgres.port}/{NAME}",
        "--shop": f"mysql://{NAME}@127.0.0.1:{mariadb.port}/{NAME}",
    }


def cdcd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("cdcd")), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CDCD_SHOP_PASSWORD": "s3cret", **environment},
        check=False,
    )


def init(urls: dict[str, str], output: Path) -> dict[str, Any]:
    done = cdcd("init", *(part for pair in urls.items() for part in pair), "-o", str(output), "--json")
    assert done.returncode == 0, done.stderr
    return tomllib.loads(output.read_text())


def test_the_demos_databases_are_understood_and_the_file_passes_the_check(urls: dict[str, str], tmp_path: Path):
    output = tmp_path / "cdcd.toml"
    found = init(urls, output)
    entities = found["entities"]
    assert entities.keys() == {"product", "customer", "contact", "order"}
    assert entities["product"]["in"]["shop"]["columns"]["price"] == {"column": "price_cents", "scale": 100}
    assert entities["product"]["in"]["shop"]["columns"]["active"]["map"] == {"10": "true", "90": "false"}
    assert entities["customer"]["in"]["shop"]["columns"]["registered_at"]["time-zone"] == "Europe/Berlin"
    assert entities["contact"]["fields"]["customer"]["type"] == "ref(customer)"
    assert entities["order"]["children"]["lines"]["fields"]["product"]["type"] == "ref(product)"
    assert found["systems"]["shop"]["password"] == {"env": "CDCD_SHOP_PASSWORD"}

    checked = cdcd("check", "--config", str(output), "--json")
    findings = json.loads(checked.stdout)["result"]["findings"]
    assert [finding for finding in findings if finding["severity"] == "error"] == []


def test_neither_passwords_nor_anybodys_data_are_in_the_file(urls: dict[str, str], tmp_path: Path):
    output = tmp_path / "cdcd.toml"
    init(urls, output)
    text = output.read_text()
    assert "s3cret" not in text
    assert "example.net" not in text
    assert "P-000" not in text


def test_a_file_that_exists_and_a_password_in_a_url_are_refused(urls: dict[str, str], tmp_path: Path):
    output = tmp_path / "cdcd.toml"
    output.write_text("mine")
    done = cdcd("init", "--erp", urls["--erp"], "--shop", urls["--shop"], "-o", str(output))
    assert (done.returncode, output.read_text()) == (2, "mine")
    clear = urls["--shop"].replace(f"{NAME}@", f"{NAME}:s3cret@")
    done = cdcd("init", "--erp", urls["--erp"], "--shop", clear, "-o", str(tmp_path / "other.toml"))
    assert done.returncode == 2
    assert "CDCD_SHOP_PASSWORD" in done.stderr
    assert "s3cret" not in done.stderr


def test_two_tables_without_a_row_are_matched_by_their_names(
    postgres: PostgresServer, mariadb: MySqlFamilyServer, tmp_path: Path
):
    for server in (postgres, mariadb):
        server.create_database("cdcd_init_line")
    postgres.execute("cdcd_init_line", ITEM)
    mariadb.execute(PRODUCTS, "cdcd_init_line")
    urls = {
        "--erp": f"postgres://postgres@127.0.0.1:{postgres.port}/cdcd_init_line",
        "--shop": f"mysql://{NAME}@127.0.0.1:{mariadb.port}/cdcd_init_line",
    }
    product = init(urls, tmp_path / "cdcd.toml")["entities"]["product"]
    assert product["key"] == ["sku"]
    assert product["in"]["erp"]["columns"] == {"sku": "code", "name": "name", "description": "web_text"}
