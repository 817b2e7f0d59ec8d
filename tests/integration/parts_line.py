"""An ERP on PostgreSQL and a shop on MariaDB whose records lie in several tables, and the daemon between them.

The ERP has products in two tables with prices in a third, and customers by a contact; the shop has posts with rows of
names and values.
"""

import uuid
from pathlib import Path
from typing import Any

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, wait_until
from integration.least_privilege import grant_in_mysql, grant_in_postgres

PASSWORD = "shop-s3cret"
CONFIG = """
[daemon]
name = "{name}"
state-dir = "{state}"
[systems.erp]
adapter = "postgres"
dsn = "{dsn}"
[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {port}
user = "{name}"
database = "{name}"
password = {{ env = "SHOP_PASSWORD" }}

[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.product.fields]
sku = {{ type = "text(64)" }}
name = {{ type = "text(200)", owner = "erp" }}
price = {{ type = "decimal(14,2)", owner = "erp" }}
unit = {{ type = "text(20)", owner = "erp" }}
description = {{ type = "text", owner = "shop" }}
[entities.product.in.erp]
table = "product"
columns = {{ sku = "code", name = "template.name", unit = "unit.symbol", price = "price.amount", description = "template.description" }}
[entities.product.in.erp.parts.template]
table = "template"
at = "template_id"
write = "row"
[entities.product.in.erp.parts.unit]
table = "unit"
of = "template"
at = "unit_id"
[entities.product.in.erp.parts.price]
table = "list_price"
of = "template"
parent = "template_id"
where = {{ product_id = {{ null = true }} }}
first-by = ["sequence"]
[entities.product.in.shop]
table = "post"
where = {{ kind = "product" }}
new = {{ state = "publish", born = {{ commit-time = "UTC" }}, slug = {{ template = "{{sku:slug}}" }} }}
columns = {{ sku = "sku.content", name = "title", price = "price.content", unit = "unit.content", description = "body" }}
[entities.product.in.shop.parts.sku]
table = "meta"
parent = "post_id"
where = {{ name = "_sku" }}
[entities.product.in.shop.parts.price]
table = "meta"
parent = "post_id"
where = {{ name = "_price" }}
[entities.product.in.shop.parts.unit]
table = "meta"
parent = "post_id"
where = {{ name = "_unit" }}

[entities.customer]
key = ["email"]
create = ["shop"]
[entities.customer.fields]
email = {{ type = "text(100)" }}
name = {{ type = "text(100)", owner = "shop" }}
[entities.customer.in.shop]
table = "users"
columns = {{ email = "email", name = "name" }}
[entities.customer.in.erp]
table = "party"
columns = {{ email = "mail.value", name = "name" }}
[entities.customer.in.erp.parts.mail]
table = "contact"
parent = "party_id"
where = {{ type = "email" }}
new = {{ active = true }}

[entities.order]
key = ["number"]
create = ["shop"]
[entities.order.fields]
number = {{ type = "text(20)", owner = "shop" }}
customer = {{ type = "ref(customer)", owner = "shop" }}
[entities.order.in.shop]
table = "orders"
columns = {{ number = "number", customer = "user_id" }}
[entities.order.in.erp]
table = "sale"
columns = {{ number = "reference", customer = "party_id" }}
new = {{ currency_id = {{ id-of = "currency", where = {{ code = "EUR" }} }}, state = "draft" }}

[entities.note]
key = ["number"]
create = ["erp", "shop"]
delete = ["erp"]
[entities.note.fields]
number = {{ type = "text(20)" }}
body = {{ type = "text", owner = "erp" }}
product = {{ type = "ref(product)", owner = "erp" }}
[entities.note.in.erp]
table = "note"
columns = {{ number = "number", body = "body", product = "product_id" }}
[entities.note.in.shop]
table = "remark"
xref = true
columns = {{ body = "body", product = "post_id" }}
"""
ERP = """
CREATE TABLE unit (id serial PRIMARY KEY, symbol text NOT NULL);
INSERT INTO unit (symbol) VALUES ('kg'), ('u');
CREATE TABLE template (id serial PRIMARY KEY, name text, description text, unit_id integer REFERENCES unit);
CREATE TABLE product (id serial PRIMARY KEY, code text NOT NULL UNIQUE, template_id integer NOT NULL REFERENCES template);
CREATE TABLE list_price (id serial PRIMARY KEY, template_id integer REFERENCES template, product_id integer, amount numeric(14,2),
  sequence integer);
CREATE TABLE note (id serial PRIMARY KEY, number text UNIQUE, body text, product_id integer REFERENCES product);
CREATE TABLE party (id serial PRIMARY KEY, name text);
CREATE TABLE contact (id serial PRIMARY KEY, party_id integer NOT NULL REFERENCES party, type text, value text, active boolean);
CREATE TABLE currency (id serial PRIMARY KEY, code text UNIQUE);
INSERT INTO currency (code) VALUES ('USD'), ('EUR');
CREATE TABLE sale (id serial PRIMARY KEY, reference text UNIQUE, party_id integer REFERENCES party,
  currency_id integer NOT NULL REFERENCES currency, state text)
"""
SHOP = """
CREATE TABLE post (id bigint AUTO_INCREMENT PRIMARY KEY, title varchar(200), body text, kind varchar(20) NOT NULL,
  state varchar(20) NOT NULL, born datetime NOT NULL, slug varchar(64) NOT NULL) CHARACTER SET utf8mb4;
CREATE TABLE meta (id bigint AUTO_INCREMENT PRIMARY KEY, post_id bigint NOT NULL, name varchar(64), content longtext,
  KEY (post_id), KEY (name)) CHARACTER SET utf8mb4;
CREATE TABLE users (id bigint AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL UNIQUE, name varchar(100));
CREATE TABLE remark (id bigint AUTO_INCREMENT PRIMARY KEY, body text, post_id bigint);
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(20) NOT NULL UNIQUE, user_id bigint)
"""


class PartsLine(DaemonProcess):
    """Both databases and the daemon between them, which connects with what `cdcd grants` prints."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        self.name = f"parts_{uuid.uuid4().hex[:12]}"
        self.postgres, self.mariadb = postgres, mariadb
        postgres.create_database(self.name)
        mariadb.create_database(self.name)
        for statement in ERP.split(";"):
            self.erp(statement)
        for statement in SHOP.split(";"):
            self.shop(statement)
        config = directory / "cdcd.toml"
        state = directory / "state"
        dsn = postgres.dsn(self.name, self.name)
        config.write_text(CONFIG.format(name=self.name, state=state, dsn=dsn, port=mariadb.port))
        super().__init__(config, state)
        self.environment["SHOP_PASSWORD"] = PASSWORD
        grant_in_postgres(postgres, self.name, config, "erp")
        grant_in_mysql(mariadb, config, "shop", PASSWORD)

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(self.name, sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        return self.mariadb.execute(sql, self.name)

    def add_product(self, sku: str, name: str, price: str, unit: str = "kg") -> None:
        """A product, as the ERP makes one."""
        self.erp(
            f"WITH t AS (INSERT INTO template (name, unit_id) SELECT '{name}', id FROM unit WHERE symbol = '{unit}' RETURNING id),"
            f" p AS (INSERT INTO product (code, template_id) SELECT '{sku}', id FROM t)"
            f" INSERT INTO list_price (template_id, amount, sequence) SELECT id, {price}, 1 FROM t"
        )

    def products_of_erp(self) -> list[tuple[Any, ...]]:
        return self.erp(
            "SELECT code, name, (SELECT amount FROM list_price l WHERE l.template_id = t.id AND product_id IS NULL"
            " ORDER BY sequence, id LIMIT 1)::text, u.symbol, description"
            " FROM product p JOIN template t ON t.id = template_id LEFT JOIN unit u ON u.id = unit_id ORDER BY code"
        )

    def products_of_shop(self) -> list[tuple[Any, ...]]:
        values = [
            f"(SELECT content FROM meta m WHERE m.post_id = p.id AND m.name = '{n}')" for n in ("_price", "_unit")
        ]
        return self.shop(
            f"SELECT s.content, title, {values[0]}, {values[1]}, body FROM post p"
            " JOIN meta s ON s.post_id = p.id AND s.name = '_sku' WHERE kind = 'product' ORDER BY s.content"
        )

    def customers_of_erp(self) -> list[tuple[Any, ...]]:
        return self.erp(
            "SELECT value, name FROM party p JOIN contact c ON party_id = p.id AND type = 'email' ORDER BY value"
        )

    def orders_of_erp(self) -> list[tuple[Any, ...]]:
        return self.erp(
            "SELECT reference, value, state, c.code FROM sale JOIN contact m ON m.party_id = sale.party_id AND type = 'email'"
            " JOIN currency c ON c.id = currency_id ORDER BY reference"
        )

    def notes(self) -> list[list[tuple[Any, ...]]]:
        """Number, text and product of the notes of both."""
        if not self.shop("SHOW TABLES LIKE 'cdcd_xref'"):
            return [[], [("not begun",)]]
        return [
            self.erp("SELECT number, body, p.code FROM note LEFT JOIN product p ON p.id = product_id ORDER BY number"),
            self.shop(
                "SELECT x.`key`, r.body, m.content FROM remark r JOIN cdcd_xref x ON x.id = r.id AND x.entity = 'note'"
                " LEFT JOIN meta m ON m.post_id = r.post_id AND m.name = '_sku' ORDER BY x.`key`"
            ),
        ]

    def wait_in_step(self) -> None:
        """Until both sides have the same products, customers and orders."""

        def states() -> list[Any]:
            orders = self.shop("SELECT number, email FROM orders JOIN users u ON u.id = user_id ORDER BY number")
            return [
                (self.products_of_erp(), self.products_of_shop()),
                (self.customers_of_erp(), self.shop("SELECT email, name FROM users ORDER BY email")),
                ([row[:2] for row in self.orders_of_erp()], orders),
                self.notes(),
            ]

        def reached() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return all(ours == theirs for ours, theirs in states())

        try:
            wait_until(reached, "in step")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{states()}\n{self.log.read_text()[-3000:]}") from error

    def drop_slot(self) -> None:
        slots = "FROM pg_replication_slots WHERE database = current_database()"
        wait_until(lambda: not self.erp(f"SELECT 1 {slots} AND active"), "the slot is free")
        self.erp(f"SELECT pg_drop_replication_slot(slot_name) {slots}")
