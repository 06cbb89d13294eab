"""The sample shop: the MySQL schema that a rehearsal migrates when no database of one's own is given.

An ordinary e-commerce schema that uses the types real shops have. Invariants:
- `client_ref` is the client's name for one write. Its index is deliberately NOT unique: a write that was executed twice
  must stay visible as two rows, or the ledger could not catch it.
- Every write of the service also inserts one `outbox` row with the same `client_ref`, in the same transaction, so that
  an increment which was lost or executed twice has a name too, not only a wrong sum.
- `BOOLEANS` hold 0 and 1 only. `orders.gift_wrap` is a TINYINT(1) as well, but counts to 2, so it must stay a number.
- Amounts are Vietnamese dong (VND) with two decimals; times are UTC.
"""

from __future__ import annotations

from typing import Final

DATABASE: Final = "ecommerce"

TABLES: Final[tuple[str, ...]] = (
    "customers", "addresses", "products", "inventory", "carts",
    "orders", "order_items", "payments", "refunds", "outbox",
)  # fmt: skip
"""Parents before children: the order to create and to fill in. All of them are under CDC."""

BOOLEANS: Final[tuple[str, ...]] = ("customers.is_active", "customers.newsletter", "addresses.is_default")
"""The TINYINT(1) columns that become boolean."""

_STAMPS = """
  created_at     DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at     TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"""

_OPTIONS = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci"

DDL: Final[dict[str, str]] = {
    "customers": f"""
CREATE TABLE customers (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  email          VARCHAR(190) NOT NULL COMMENT 'unique without regard to case or accents',
  full_name      VARCHAR(120) NOT NULL,
  phone          VARCHAR(20) NULL,
  birthday       DATE NULL,
  locale         CHAR(2) NOT NULL DEFAULT 'vi',
  tier           ENUM('standard','silver','gold','diamond') NOT NULL DEFAULT 'standard',
  interests      SET('fashion','electronics','home','books','beauty','food') NULL,
  is_active      TINYINT(1) NOT NULL DEFAULT 1,
  newsletter     TINYINT(1) NULL,
  failed_logins  TINYINT UNSIGNED NOT NULL DEFAULT 0,
  balance        DECIMAL(14,2) NOT NULL DEFAULT 0.00,
  loyalty_points INT NOT NULL DEFAULT 0,
  call_after     TIME NULL COMMENT 'earliest hour for a call',
  password_hash  VARBINARY(72) NOT NULL,
  device_token   BINARY(16) NULL,
  preferences    JSON NULL,{_STAMPS},
  PRIMARY KEY (id),
  UNIQUE KEY customers_email (email),
  KEY customers_created (created_at)
) {_OPTIONS}""",
    "addresses": f"""
CREATE TABLE addresses (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  customer_id    BIGINT UNSIGNED NOT NULL,
  kind           ENUM('home','work','pickup') NOT NULL DEFAULT 'home',
  recipient      VARCHAR(120) NOT NULL,
  street         VARCHAR(200) NOT NULL,
  district       VARCHAR(80) NOT NULL,
  city           VARCHAR(80) NOT NULL,
  country        CHAR(2) NOT NULL DEFAULT 'VN',
  postcode       CHAR(6) NULL,
  latitude       DOUBLE NULL,
  longitude      DOUBLE NULL,
  floor          TINYINT NULL COMMENT 'below ground is negative',
  is_default     TINYINT(1) NOT NULL DEFAULT 0,
  note           TEXT NULL,{_STAMPS},
  PRIMARY KEY (id),
  KEY addresses_customer (customer_id),
  CONSTRAINT addresses_customer_fk FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
) {_OPTIONS}""",
    "products": f"""
CREATE TABLE products (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  sku            VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  name           VARCHAR(200) NOT NULL,
  description    TEXT NULL,
  category       SMALLINT UNSIGNED NOT NULL,
  price          DECIMAL(14,2) NOT NULL,
  currency       CHAR(3) NOT NULL DEFAULT 'VND',
  weight_grams   MEDIUMINT UNSIGNED NOT NULL,
  rating         FLOAT NULL,
  status         ENUM('draft','active','retired') NOT NULL DEFAULT 'active',
  labels         SET('new','sale','bestseller','imported') NOT NULL DEFAULT '',
  shipping       BIT(8) NOT NULL DEFAULT b'00000001' COMMENT 'carriers that may take it',
  model_year     YEAR NULL,
  image_sha256   BINARY(32) NULL,
  attributes     JSON NULL,{_STAMPS},
  PRIMARY KEY (id),
  UNIQUE KEY products_sku (sku),
  KEY products_category (category, status)
) {_OPTIONS}""",
    "inventory": f"""
CREATE TABLE inventory (
  product_id     BIGINT UNSIGNED NOT NULL,
  on_hand        INT NOT NULL DEFAULT 0 COMMENT 'changed by increments only',
  reserved       MEDIUMINT UNSIGNED NOT NULL DEFAULT 0,
  warehouse      SMALLINT UNSIGNED NOT NULL DEFAULT 1,
  client_ref     CHAR(36) NULL COMMENT 'the last write',{_STAMPS},
  PRIMARY KEY (product_id),
  KEY inventory_client_ref (client_ref),
  CONSTRAINT inventory_product_fk FOREIGN KEY (product_id) REFERENCES products (id)
) {_OPTIONS}""",
    "carts": f"""
CREATE TABLE carts (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  customer_id    BIGINT UNSIGNED NOT NULL,
  status         ENUM('open','ordered','abandoned') NOT NULL DEFAULT 'open',
  items          JSON NOT NULL,
  total          DECIMAL(14,2) NOT NULL DEFAULT 0.00,
  coupon         CHAR(10) NULL,
  expires_on     DATE NULL,
  client_ref     CHAR(36) NULL COMMENT 'the last write',{_STAMPS},
  PRIMARY KEY (id),
  KEY carts_customer (customer_id),
  KEY carts_client_ref (client_ref),
  CONSTRAINT carts_customer_fk FOREIGN KEY (customer_id) REFERENCES customers (id)
) {_OPTIONS}""",
    "orders": f"""
CREATE TABLE orders (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  customer_id    BIGINT UNSIGNED NOT NULL,
  status         ENUM('new','paid','packed','shipped','delivered','cancelled') NOT NULL DEFAULT 'new',
  total          DECIMAL(14,2) NOT NULL,
  discount_rate  DOUBLE NOT NULL DEFAULT 0,
  gift_wrap      TINYINT(1) NOT NULL DEFAULT 0 COMMENT '0 none, 1 plain, 2 festive',
  delivery_date  DATE NULL,
  delivery_time  TIME NULL,
  note           TEXT NULL,
  details        JSON NULL,
  client_ref     CHAR(36) NOT NULL,
  placed_at      DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  updated_at     TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  KEY orders_customer (customer_id, placed_at),
  KEY orders_client_ref (client_ref),
  CONSTRAINT orders_customer_fk FOREIGN KEY (customer_id) REFERENCES customers (id)
) {_OPTIONS}""",
    "order_items": f"""
CREATE TABLE order_items (
  order_id       BIGINT UNSIGNED NOT NULL,
  line           SMALLINT UNSIGNED NOT NULL COMMENT 'from 1',
  product_id     BIGINT UNSIGNED NOT NULL,
  quantity       MEDIUMINT UNSIGNED NOT NULL,
  unit_price     DECIMAL(14,2) NOT NULL,
  PRIMARY KEY (order_id, line),
  KEY order_items_product (product_id),
  CONSTRAINT order_items_order_fk FOREIGN KEY (order_id) REFERENCES orders (id),
  CONSTRAINT order_items_product_fk FOREIGN KEY (product_id) REFERENCES products (id)
) {_OPTIONS}""",
    "payments": f"""
CREATE TABLE payments (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  order_id       BIGINT UNSIGNED NOT NULL,
  method         ENUM('card','momo','zalopay','transfer','cash') NOT NULL,
  status         ENUM('authorised','captured','failed','refunded') NOT NULL DEFAULT 'captured',
  amount         DECIMAL(14,2) NOT NULL,
  currency       CHAR(3) NOT NULL DEFAULT 'VND',
  card_token     VARBINARY(64) NULL COMMENT 'of the payment provider; never a card number',
  client_ref     CHAR(36) NOT NULL,
  captured_at    TIMESTAMP(6) NULL,
  created_at     DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  KEY payments_order (order_id),
  KEY payments_client_ref (client_ref),
  CONSTRAINT payments_order_fk FOREIGN KEY (order_id) REFERENCES orders (id)
) {_OPTIONS}""",
    "refunds": f"""
CREATE TABLE refunds (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  payment_id     BIGINT UNSIGNED NOT NULL,
  amount         DECIMAL(14,2) NOT NULL,
  reason         ENUM('returned','damaged','late','other') NOT NULL,
  comment        TEXT NULL,
  approved_on    DATE NULL,
  created_at     DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  KEY refunds_payment (payment_id),
  CONSTRAINT refunds_payment_fk FOREIGN KEY (payment_id) REFERENCES payments (id)
) {_OPTIONS}""",
    "outbox": f"""
CREATE TABLE outbox (
  id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  aggregate      ENUM('order','payment','refund','inventory','cart','customer') NOT NULL,
  aggregate_id   BIGINT UNSIGNED NOT NULL,
  event          VARCHAR(40) NOT NULL,
  payload        JSON NOT NULL,
  client_ref     CHAR(36) NULL,
  created_at     DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  delivered_at   DATETIME(6) NULL COMMENT 'set by the relay',
  PRIMARY KEY (id),
  KEY outbox_client_ref (client_ref),
  KEY outbox_delivered (delivered_at, id)
) {_OPTIONS}""",
}
"""`CREATE TABLE` by table name, for a MySQL 8 database whose character set is utf8mb4."""
