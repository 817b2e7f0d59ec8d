-- The demo's storefront (MariaDB): other names, auto-increment ids, cents, status codes, local times without a zone.

CREATE TABLE products (
    id            INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sku           VARCHAR(64)  NOT NULL,
    title         VARCHAR(200) NOT NULL,
    price_cents   INT          NOT NULL,
    currency_code CHAR(3)      NOT NULL,
    quantity      INT          NOT NULL DEFAULT 0,
    status_code   SMALLINT     NOT NULL DEFAULT 10,            -- 10 live, 90 retired
    attributes    JSON         NULL,
    body_html     MEDIUMTEXT   NULL,
    view_count    INT UNSIGNED NOT NULL DEFAULT 0,             -- the shop's alone: cdcd never touches it
    updated_at    TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    UNIQUE KEY (sku)
);

CREATE TABLE customers (
    id            INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_no   VARCHAR(32)  NOT NULL,
    full_name     VARCHAR(200) NOT NULL,
    segment       ENUM('retail', 'trade') NOT NULL DEFAULT 'retail',
    country_code  CHAR(2)      NOT NULL,
    registered_at DATETIME     NULL,                           -- wall clock of Berlin
    newsletter    TINYINT(1)   NOT NULL DEFAULT 0,
    credit_cents  BIGINT       NOT NULL DEFAULT 0,
    account_state VARCHAR(10)  NOT NULL DEFAULT 'open',        -- open, blocked
    UNIQUE KEY (customer_no)
) AUTO_INCREMENT = 1000;

CREATE TABLE contacts (
    id          INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id INT UNSIGNED NOT NULL,
    email       VARCHAR(190) NOT NULL,
    display_name VARCHAR(200) NOT NULL,
    phone       VARCHAR(40)  NULL,
    terms       TEXT         NULL,
    discount_bp INT          NOT NULL DEFAULT 0,               -- hundredths of a percent
    terms_until DATE         NULL,
    UNIQUE KEY (email),
    FOREIGN KEY (customer_id) REFERENCES customers (id)
) AUTO_INCREMENT = 2000;

CREATE TABLE orders (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    number        VARCHAR(32)  NOT NULL,
    customer_id   INT UNSIGNED NOT NULL,
    status        SMALLINT     NOT NULL,                       -- 10 new, 20 paid, 30 picking, 40 shipped, 90 cancelled
    placed_at     DATETIME     NOT NULL,                       -- wall clock of Tokyo
    total_cents   BIGINT       NOT NULL,
    currency      CHAR(3)      NOT NULL,
    customer_note TEXT         NULL,
    promised_date DATE         NULL,
    tracking_code VARCHAR(64)  NULL,
    shipped_at    DATETIME(6)  NULL,                           -- wall clock of Tokyo
    UNIQUE KEY (number),
    FOREIGN KEY (customer_id) REFERENCES customers (id)
) AUTO_INCREMENT = 40000;

CREATE TABLE order_items (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id   BIGINT UNSIGNED NOT NULL,
    position   INT             NOT NULL,
    product_id INT UNSIGNED    NOT NULL,
    quantity   DECIMAL(12,3)   NOT NULL,
    unit_cents BIGINT          NOT NULL,
    UNIQUE KEY (order_id, position),
    FOREIGN KEY (order_id) REFERENCES orders (id),
    FOREIGN KEY (product_id) REFERENCES products (id)
);
