"""The company whose two databases are kept in step while everything around them fails: schemas, business, configuration.

Business runs inside the servers: a procedure makes any number of small transactions with one call, so that writing costs
next to nothing beside what is tested. Whatever the verdict needs is committed in the same transactions:

    progress      transactions of each writer's connection
    made, gone    how many records of a kind were created here, and which were deleted
    regression    noted by triggers: a version number that went back, which no writer ever does
    movement      (ERP) and visit (shop): append-only, copied to the other side; they also say what every stock must be

Partners with an unlucky credit and items with a refused name are refused by the shop until they are cured, partners with an
unlucky name by the ERP.
"""

from __future__ import annotations

from typing import Final

ITEMS: Final = 400
BARRIER: Final = "BARRIER"
UNLUCKY: Final = 13
CURE_AT_SHOP: Final = "UPDATE partners SET name_version = name_version + 1, name = 'lucky' WHERE name = 'unlucky'"
CURE_ITEMS: Final = "UPDATE item SET name = 'good ' || code WHERE name LIKE 'refused%'"
CURE: Final = f"UPDATE partner SET credit_version = credit_version + 1, credit = 14 WHERE credit = {UNLUCKY}"
ERP: Final = f"""
CREATE TABLE item (id bigserial PRIMARY KEY, code text NOT NULL UNIQUE, name text NOT NULL, price_version integer NOT NULL
    DEFAULT 0, list_price numeric(14,2) NOT NULL DEFAULT 0, web_version integer NOT NULL DEFAULT 0, web_text text,
    on_hand bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
CREATE TABLE partner (id bigserial PRIMARY KEY, number text NOT NULL UNIQUE, name_version integer NOT NULL DEFAULT 0, name text,
    credit_version integer NOT NULL DEFAULT 0, credit numeric(14,2), CONSTRAINT taste CHECK (name <> 'unlucky'));
CREATE TABLE sales_order (id bigserial PRIMARY KEY, order_no text NOT NULL UNIQUE, state text NOT NULL, note_version integer
    NOT NULL, note text, ship_version integer NOT NULL DEFAULT 0, tracking text);
CREATE INDEX ON sales_order (state, id);
CREATE TABLE sales_order_line (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES sales_order, line_no integer
    NOT NULL, item_id bigint NOT NULL REFERENCES item, qty integer NOT NULL, UNIQUE (order_id, line_no));
CREATE TABLE movement (id bigserial PRIMARY KEY, code text NOT NULL, delta bigint NOT NULL);
CREATE TABLE visit (id bigint PRIMARY KEY, code text NOT NULL, delta bigint NOT NULL);
CREATE TABLE label (id bigserial PRIMARY KEY, code text NOT NULL UNIQUE, text text NOT NULL, size integer NOT NULL);
INSERT INTO label (code, text, size) SELECT 'L' || n, 'new', 0 FROM generate_series(1, 50) n;
CREATE TABLE progress (connection integer PRIMARY KEY, transactions bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE made (kind text PRIMARY KEY, count bigint NOT NULL) WITH (fillfactor = 10);
CREATE TABLE gone (kind text NOT NULL, number text NOT NULL, PRIMARY KEY (kind, number));
CREATE TABLE regression (id bigserial PRIMARY KEY, kind text NOT NULL, number text NOT NULL, noted timestamptz DEFAULT now());
INSERT INTO progress SELECT n, 0 FROM generate_series(0, 9) n;
INSERT INTO made VALUES ('partner', 0), ('item', 0);
INSERT INTO item (code, name) SELECT 'P' || lpad(n::text, 5, '0'), 'item ' || n FROM generate_series(1, {ITEMS}) n;
INSERT INTO item (code, name) VALUES ('{BARRIER}', 'barrier');
CREATE FUNCTION note_regression() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO regression (kind, number) VALUES (TG_TABLE_NAME, to_jsonb(NEW) ->> TG_ARGV[0]); RETURN NULL; END $$;
CREATE TRIGGER back AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.price_version < OLD.price_version
    OR NEW.web_version < OLD.web_version) EXECUTE FUNCTION note_regression('code');
CREATE TRIGGER back AFTER UPDATE ON partner FOR EACH ROW WHEN (NEW.name_version < OLD.name_version
    OR NEW.credit_version < OLD.credit_version) EXECUTE FUNCTION note_regression('number');
CREATE TRIGGER back AFTER UPDATE ON sales_order FOR EACH ROW WHEN (NEW.note_version < OLD.note_version
    OR NEW.ship_version < OLD.ship_version) EXECUTE FUNCTION note_regression('order_no');
CREATE PROCEDURE business(writer integer, rounds integer) LANGUAGE plpgsql AS $$
DECLARE dice float; which text; chosen bigint; step bigint;
BEGIN
FOR n IN 1..rounds LOOP
    dice := random();
    chosen := 0;
    which := 'P' || lpad((1 + floor(random() * {ITEMS}))::text, 5, '0');
    IF dice < 0.40 THEN
        step := 1 + floor(random() * 9);
        UPDATE item SET on_hand = on_hand + step WHERE code = which;
        INSERT INTO movement (code, delta) VALUES (which, step);
    ELSIF dice < 0.70 THEN
        UPDATE item SET price_version = price_version + 1, list_price = (price_version + 1) * 0.01 WHERE code = which;
    ELSIF dice < 0.84 THEN
        SELECT id INTO chosen FROM sales_order WHERE state = 'picking' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE sales_order SET state = 'shipped', ship_version = ship_version + 1, tracking = 'T' || id WHERE id = chosen;
    ELSIF dice < 0.85 THEN
        UPDATE label SET text = 'label ' || size, size = size + 1 WHERE id = 1 + floor(random() * 50);
    ELSIF dice < 0.88 THEN
        SELECT id INTO chosen FROM sales_order WHERE state = 'shipped' ORDER BY id OFFSET floor(random() * 20) LIMIT 1
            FOR UPDATE SKIP LOCKED;
        UPDATE sales_order SET ship_version = ship_version + 1, tracking = 'T' || ship_version WHERE id = chosen;
    ELSIF dice < 0.97 THEN
        SELECT id INTO chosen FROM sales_order WHERE state = 'shipped' ORDER BY id OFFSET 100 LIMIT 1 FOR UPDATE SKIP LOCKED;
        INSERT INTO gone SELECT 'order', order_no FROM sales_order WHERE id = chosen;
        DELETE FROM sales_order_line WHERE order_id = chosen;
        DELETE FROM sales_order WHERE id = chosen;
    ELSIF dice < 0.98 THEN
        UPDATE made SET count = count + 1 WHERE kind = 'partner' RETURNING count INTO step;
        INSERT INTO partner (number, name_version, name, credit_version, credit) VALUES ('E' || step, 0, 'from the ERP', 1, 1);
    ELSIF dice < 0.985 THEN
        SELECT id INTO chosen FROM partner WHERE number LIKE 'E%' ORDER BY id OFFSET 50 LIMIT 1 FOR UPDATE SKIP LOCKED;
        INSERT INTO gone SELECT 'partner', number FROM partner WHERE id = chosen;
        DELETE FROM partner WHERE id = chosen;
    ELSIF dice < 0.99 THEN
        SELECT id INTO chosen FROM partner ORDER BY id OFFSET floor(random() * 40) LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE partner SET credit_version = credit_version + 1, credit = 100 + credit_version WHERE id = chosen;
    ELSIF dice < 0.996 THEN
        UPDATE made SET count = count + 1 WHERE kind = 'item' RETURNING count INTO step;
        INSERT INTO item (code, name) VALUES ('X' || step, 'passing');
        INSERT INTO gone SELECT 'item', 'X' || (step - 5) FROM item WHERE code = 'X' || (step - 5);
        DELETE FROM item WHERE code = 'X' || (step - 5);
    ELSIF dice < 0.9962 THEN
        UPDATE item SET name = 'refused ' || code WHERE code = which;
    ELSIF dice < 0.9966 THEN
        SELECT id INTO chosen FROM partner ORDER BY id OFFSET floor(random() * 40) LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE partner SET credit_version = credit_version + 1, credit = {UNLUCKY} WHERE id = chosen;
    ELSE
        {CURE};
        chosen := CASE WHEN FOUND THEN 0 END;
        {CURE_ITEMS};
        chosen := CASE WHEN FOUND THEN 0 ELSE chosen END;
    END IF;
    IF chosen IS NOT NULL THEN
        UPDATE progress SET transactions = transactions + 1 WHERE connection = writer;
    END IF;
    COMMIT;
END LOOP;
END $$;
CREATE PROCEDURE bulk(rows integer) LANGUAGE sql AS $$
    INSERT INTO movement (code, delta) SELECT 'P00001', 0 FROM generate_series(1, rows) $$;
"""
SHOP: Final = f"""
CREATE TABLE products (id bigint AUTO_INCREMENT PRIMARY KEY, sku varchar(64) NOT NULL UNIQUE, title varchar(200) NOT NULL,
    price_version int NOT NULL DEFAULT 0, cents int NOT NULL DEFAULT 0, web_version int NOT NULL DEFAULT 0, body text,
    quantity bigint NOT NULL DEFAULT 0, CONSTRAINT good CHECK (title NOT LIKE 'refused%'));
CREATE TABLE partners (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(64) NOT NULL UNIQUE, name_version int NOT NULL
    DEFAULT 0, name varchar(200), credit_version int NOT NULL DEFAULT 0, credit decimal(14,2),
    CONSTRAINT taste CHECK (credit <> {UNLUCKY}));
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(64) NOT NULL UNIQUE, status varchar(20) NOT NULL,
    note_version int NOT NULL, note varchar(200), ship_version int NOT NULL DEFAULT 0, tracking_code varchar(64),
    KEY (status, id));
CREATE TABLE order_items (id bigint AUTO_INCREMENT PRIMARY KEY, order_id bigint NOT NULL, position int NOT NULL,
    product_id bigint NOT NULL, quantity int NOT NULL, UNIQUE (order_id, position), FOREIGN KEY (order_id) REFERENCES orders (id),
    FOREIGN KEY (product_id) REFERENCES products (id));
CREATE TABLE visit (id bigint AUTO_INCREMENT PRIMARY KEY, code varchar(64) NOT NULL, delta bigint NOT NULL);
CREATE TABLE movement (id bigint PRIMARY KEY, code varchar(64) NOT NULL, delta bigint NOT NULL);
CREATE TABLE labels (id bigint AUTO_INCREMENT PRIMARY KEY, code varchar(64) NOT NULL UNIQUE, text varchar(200) NOT NULL,
    size int NOT NULL DEFAULT -1);
CREATE TABLE progress (connection int PRIMARY KEY, transactions bigint NOT NULL);
CREATE TABLE made (kind varchar(20) PRIMARY KEY, count bigint NOT NULL);
CREATE TABLE gone (kind varchar(20) NOT NULL, number varchar(64) NOT NULL, PRIMARY KEY (kind, number));
CREATE TABLE regression (id bigint AUTO_INCREMENT PRIMARY KEY, kind varchar(20) NOT NULL, number varchar(64) NOT NULL,
    noted timestamp(6) DEFAULT now(6));
INSERT INTO progress VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0);
INSERT INTO made VALUES ('partner', 0), ('order', 0);
CREATE TRIGGER item_back AFTER UPDATE ON products FOR EACH ROW INSERT INTO regression (kind, number)
    SELECT 'item', NEW.sku FROM DUAL WHERE NEW.price_version < OLD.price_version OR NEW.web_version < OLD.web_version;
CREATE TRIGGER partner_back AFTER UPDATE ON partners FOR EACH ROW INSERT INTO regression (kind, number)
    SELECT 'partner', NEW.number FROM DUAL WHERE NEW.name_version < OLD.name_version OR NEW.credit_version < OLD.credit_version;
CREATE TRIGGER order_back AFTER UPDATE ON orders FOR EACH ROW INSERT INTO regression (kind, number)
    SELECT 'sales_order', NEW.number FROM DUAL WHERE NEW.note_version < OLD.note_version OR NEW.ship_version < OLD.ship_version;
"""
SHOP_BUSINESS: Final = f"""
CREATE PROCEDURE business(writer int, rounds int)
BEGIN
DECLARE dice double; DECLARE which varchar(64); DECLARE chosen, step, other bigint; DECLARE n int DEFAULT 0;
DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
WHILE n < rounds DO
    SET n = n + 1, dice = rand(), which = CONCAT('P', LPAD(1 + FLOOR(rand() * {ITEMS}), 5, '0')), chosen = 0, other = NULL;
    START TRANSACTION;
    IF dice < 0.30 THEN
        SET step = 1 + FLOOR(rand() * 9);
        UPDATE products SET quantity = quantity - step WHERE sku = which;
        INSERT INTO visit (code, delta) SELECT sku, -step FROM products WHERE sku = which;
    ELSEIF dice < 0.50 THEN
        UPDATE products SET web_version = web_version + 1, body = CONCAT('text ', web_version) WHERE sku = which;
    ELSEIF dice < 0.68 THEN
        SET chosen = NULL;
        SELECT id INTO other FROM products WHERE sku = which;
        IF other IS NOT NULL THEN
            UPDATE made SET count = last_insert_id(count + 1) WHERE kind = 'order';
            SET step = last_insert_id();
            INSERT INTO orders (number, status, note_version, note) VALUES (CONCAT('O', step), 'new', 1, 'first');
            SET chosen = last_insert_id();
            INSERT INTO order_items (order_id, position, product_id, quantity) VALUES (chosen, 1, other, 1);
            IF step % 2 THEN
                INSERT INTO order_items (order_id, position, product_id, quantity) VALUES (chosen, 2, other, 1);
            END IF;
        END IF;
    ELSEIF dice < 0.76 THEN
        SET chosen = NULL;
        SELECT id INTO chosen FROM orders WHERE status = 'new' ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE orders SET note_version = note_version + 1, note = CONCAT('note ', note_version) WHERE id = chosen;
    ELSEIF dice < 0.82 THEN
        SET chosen = NULL;
        SELECT id INTO chosen FROM orders WHERE status = 'new' ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE order_items SET quantity = quantity + 1 WHERE order_id = chosen AND position = 1;
    ELSEIF dice < 0.98 THEN
        SET chosen = NULL;
        SELECT id INTO chosen FROM orders WHERE status = 'new' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE orders SET note_version = note_version + 1, status = 'picking' WHERE id = chosen;
    ELSEIF dice < 0.985 THEN
        UPDATE made SET count = last_insert_id(count + 1) WHERE kind = 'partner';
        INSERT INTO partners (number, name_version, name) VALUES (CONCAT('S', last_insert_id()), 1, 'from the shop');
    ELSEIF dice < 0.99 THEN
        SET chosen = NULL;
        SELECT id INTO chosen FROM partners WHERE number LIKE 'S%' ORDER BY id LIMIT 1 OFFSET 50 FOR UPDATE SKIP LOCKED;
        INSERT INTO gone SELECT 'partner', number FROM partners WHERE id = chosen;
        DELETE FROM partners WHERE id = chosen;
    ELSE
        SET chosen = NULL;
        SELECT id INTO chosen FROM partners ORDER BY rand() LIMIT 1 FOR UPDATE SKIP LOCKED;
        UPDATE partners SET name_version = name_version + 1, name = CONCAT('name ', name_version) WHERE id = chosen;
    END IF;
    IF chosen IS NOT NULL THEN
        UPDATE progress SET transactions = transactions + 1 WHERE connection = writer;
    END IF;
    COMMIT;
END WHILE;
END
"""
CONFIG: Final = """
[daemon]
name = "faults"
state-dir = "{state}"
[journal]
keep = "20s"
[systems.erp]
adapter = "postgres"
dsn = "host=127.0.0.1 port={erp_port} dbname=company user=postgres"
connect-timeout-seconds = 2
statement-timeout-seconds = 5
lock-timeout-seconds = 3
silence-seconds = 3
[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {shop_port}
user = "cdcd"
database = "company"
password = {{ env = "SHOP_PASSWORD" }}
connect-timeout-seconds = 2
timeout-seconds = 5
lock-timeout-seconds = 3
heartbeat-seconds = 1

[entities.item]
key = ["code"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
code = {{ type = "text(64)" }}
name = {{ type = "text(200)", owner = "erp" }}
price_version = {{ type = "integer", owner = "erp" }}
price = {{ type = "decimal(14,2)", owner = "erp" }}
web_version = {{ type = "integer", owner = "shop" }}
text = {{ type = "text", owner = "shop" }}
stock = {{ type = "integer", owner = "sum", between = ["erp", "shop"], initial = "erp" }}
[entities.item.in.erp]
table = "item"
columns = {{ code = "code", name = "name", price_version = "price_version", price = "list_price", web_version = "web_version", \
text = "web_text", stock = "on_hand" }}
[entities.item.in.shop]
table = "products"
columns = {{ code = "sku", name = "title", price_version = "price_version", price = {{ column = "cents", scale = 100 }}, \
web_version = "web_version", text = "body", stock = "quantity" }}

[entities.partner]
key = ["number"]
create = ["erp", "shop"]
delete = ["erp", "shop"]
[entities.partner.fields]
number = {{ type = "text(64)" }}
name_version = {{ type = "integer", owner = "shop" }}
name = {{ type = "text(200)", owner = "shop" }}
credit_version = {{ type = "integer", owner = "erp" }}
credit = {{ type = "decimal(14,2)", owner = "erp" }}
[entities.partner.in.erp]
table = "partner"
columns = {{ number = "number", name_version = "name_version", name = "name", credit_version = "credit_version", \
credit = "credit" }}
[entities.partner.in.shop]
table = "partners"
columns = {{ number = "number", name_version = "name_version", name = "name", credit_version = "credit_version", \
credit = "credit" }}

[entities.order]
key = ["number"]
create = ["shop"]
delete = ["erp"]
[entities.order.fields]
number = {{ type = "text(64)" }}
status = {{ type = "enum(new,picking,shipped)" }}
note_version = {{ type = "integer" }}
note = {{ type = "text(200)" }}
ship_version = {{ type = "integer" }}
tracking = {{ type = "text(64)" }}
[[entities.order.ownership]]
when = "record.status == 'new'"
owner = "shop"
[[entities.order.ownership]]
when = "record.status in ['picking', 'shipped']"
owner = "erp"
[entities.order.children.lines]
key = ["line_no"]
[entities.order.children.lines.fields]
line_no = {{ type = "integer" }}
item = {{ type = "ref(item)" }}
quantity = {{ type = "integer" }}
[entities.order.in.erp]
table = "sales_order"
columns = {{ number = "order_no", status = "state", note_version = "note_version", note = "note", \
ship_version = "ship_version", tracking = "tracking" }}
[entities.order.in.erp.children.lines]
table = "sales_order_line"
parent = "order_id"
columns = {{ line_no = "line_no", item = "item_id", quantity = "qty" }}
[entities.order.in.shop]
table = "orders"
columns = {{ number = "number", status = "status", note_version = "note_version", note = "note", \
ship_version = "ship_version", tracking = "tracking_code" }}
[entities.order.in.shop.children.lines]
table = "order_items"
parent = "order_id"
columns = {{ line_no = "position", item = "product_id", quantity = "quantity" }}

[[replicate]]
from = "erp"
to = "shop"
tables = ["movement"]
[[replicate]]
from = "shop"
to = "erp"
tables = ["visit"]
"""
LABELS: Final = """
[entities.label]
key = ["code"]
create = ["erp"]
[entities.label.fields]
code = {{ type = "text(64)" }}
text = {{ type = "text(200)", owner = "erp" }}
{size_field}
[entities.label.in.erp]
table = "label"
columns = {{ {columns} }}
[entities.label.in.shop]
table = "labels"
columns = {{ {columns} }}
"""
SIZE_FIELD: Final = 'size = { type = "integer", owner = "erp" }'


def configuration(labels: str, **places: object) -> str:
    """The configuration; `labels` are the columns of the entity that comes and changes, separated by commas, or nothing."""
    text = CONFIG.format(**places)
    if labels:
        columns = ", ".join(f'{name} = "{name}"' for name in labels.split(", "))
        text += LABELS.format(size_field=SIZE_FIELD if "size" in labels else "", columns=columns)
    return text
