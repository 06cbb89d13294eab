-- A database with every type and attribute of the contract, keys of every kind, and the values at the edges.
-- (Spatial types and VECTOR are stated exceptions: tests/rehearsal has those by themselves.)
SET NAMES utf8mb4;
SET time_zone = '+00:00';
SET sql_mode = '';

CREATE TABLE numbers (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  flag TINYINT(1) NULL COMMENT '0 and 1 only: a boolean',
  level TINYINT(1) NULL COMMENT 'counts to 9: a number',
  t TINYINT NULL, tu TINYINT UNSIGNED NULL, s SMALLINT NULL, su SMALLINT UNSIGNED NULL,
  m MEDIUMINT NULL, mu MEDIUMINT UNSIGNED NULL, i INT NULL, iu INT UNSIGNED NULL, z INT(6) UNSIGNED ZEROFILL NULL,
  b BIGINT NULL, bu BIGINT UNSIGNED NULL,
  d1 DECIMAL(65,30) NULL, d2 DECIMAL(12,2) NOT NULL DEFAULT 0.00, d3 DECIMAL(20,0) NULL,
  f FLOAT NULL, db DOUBLE NULL, b1 BIT(1) NULL, b13 BIT(13) NULL, b64 BIT(64) NULL, y YEAR NULL,
  doubled DECIMAL(13,2) AS (d2 + d2) STORED, more BIGINT AS (su + 1) VIRTUAL,
  hidden INT NULL INVISIBLE
);
INSERT INTO numbers (flag, level, t, tu, s, su, m, mu, i, iu, z, b, bu, d1, d2, d3, f, db, b1, b13, b64, y, hidden) VALUES
  (1, 9, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, 7, -9223372036854775808,
   18446744073709551615, '-99999999999999999999999999999999999.999999999999999999999999999999', -9999999999.99,
   -99999999999999999999, -3.402823466e38, -1.7976931348623157e308, b'1', b'1111111111111', 0xFFFFFFFFFFFFFFFF, 1901, 1),
  (0, 0, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 999999, 9223372036854775807, 9223372036854775808,
   '0.000000000000000000000000000001', 9999999999.99, 99999999999999999999, 3.402823466e38, 1.7976931348623157e308,
   b'0', b'0', 0, 2155, NULL),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL),
  (1, 5, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, -0.01, 0, 16777217, 0.1, b'1', b'1010', 0x8000000000000001, 1901, -7),
  (0, 1, 1, 2, 1, 2, 1, 2, 1, 2, 123, 9007199254740993, 9007199254740993, 123456789.123456789, 1234.5, 12, 1.1, 5e-324,
   b'0', b'1', 1, 2000, 7),
  (1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 5, 1, 1, -1.5, 1.5, 1, 1.17549e-38, -0e0, b'0', b'1', 1, 1970, 0),
  (1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 5, 1, 1, 10000, 10000, 10000, 1e10, 1e22, b'0', b'1', 1, 1999, 0),
  (1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 5, 1, 1, 0.0001, 0.1, 100000000, 0.333333343, 0.30000000000000004, b'0', b'1', 1, 2001, 0);

CREATE TABLE moments (
  day DATE NOT NULL, at DATETIME(6) NOT NULL,
  d DATE NULL, dt DATETIME NULL, dt3 DATETIME(3) NULL, dt6 DATETIME(6) NULL, ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL,
  clock TIME NULL, clock6 TIME(6) NULL, span TIME NULL COMMENT 'a duration: negative, and beyond a day',
  span6 TIME(6) NULL,
  created DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  PRIMARY KEY (day, at)
);
INSERT INTO moments (day, at, d, dt, dt3, dt6, ts, ts6, clock, clock6, span, span6) VALUES
  ('1000-01-01', '1000-01-01 00:00:00', '1000-01-01', '1000-01-01', '1000-01-01', '1000-01-01 00:00:00.000001',
   '1970-01-01 00:00:01', '1970-01-01 00:00:01.000001', '00:00:00', '00:00:00.000001', '-838:59:59', '-838:59:59'),
  ('9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31', '9999-12-31 23:59:59', '9999-12-31 23:59:59.999',
   '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07', '2038-01-19 03:14:07.499999', '23:59:59', '23:59:59.999999',
   '838:59:59', '838:59:59'),
  ('2024-02-29', '2024-02-29 12:00:00.5', '2024-02-29', '2024-03-10 02:30:00', '2024-03-31 02:30:00.123',
   '2024-10-27 02:30:00.123456', '2024-03-10 02:30:00', '2024-11-03 01:30:00.5', '12:00:00', '12:34:56.789',
   '25:00:00', '-00:00:00.000001'),
  ('2024-03-01', '2024-03-01 00:00:00', '0000-00-00', '0000-00-00', '2024-00-15', '0000-00-00', '0000-00-00',
   '0000-00-00', NULL, NULL, NULL, NULL),
  ('2024-03-02', '2024-03-02 00:00:00', '2024-05-00', '2024-00-00', NULL, '2024-12-00 10:00:00', NULL, NULL, '08:00:00',
   '08:00:00', '00:00:00', '24:00:00'),
  ('1582-10-15', '1969-12-31 23:59:59.999999', '1582-10-15', '1582-10-15', '1969-12-31 23:59:59.999', '1899-12-31', NULL,
   NULL, '00:00:01', '00:00:01.5', '-00:00:01', '00:00:01.5');

CREATE TABLE texts (
  code VARCHAR(40) COLLATE utf8mb4_0900_ai_ci NOT NULL PRIMARY KEY,
  c CHAR(10) NULL, v VARCHAR(100) NULL, latin VARCHAR(100) CHARACTER SET latin1 NULL,
  cyrillic VARCHAR(100) CHARACTER SET cp1251 NULL, han VARCHAR(100) CHARACTER SET gbk NULL,
  wide VARCHAR(100) CHARACTER SET utf16 NULL, plain VARCHAR(100) CHARACTER SET ascii NULL,
  exact VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  tt TINYTEXT NULL, t TEXT NULL, mt MEDIUMTEXT NULL, lt LONGTEXT NULL,
  size ENUM('small','middle ''one''','groß','') NULL, marks SET('a','b c','ü','d''e') NULL, j JSON NULL,
  upper_code VARCHAR(60) AS (CONCAT(code, '-', 'x')) STORED
);
INSERT INTO texts (code, c, v, latin, cyrillic, han, wide, plain, exact, tt, t, mt, lt, size, marks, j) VALUES
  ('apple', 'pad', 'trail  ', 'café ÿ', 'Привет', '中文', '😀 wide', 'ascii', 'Exact', 'tiny', 'a\nb\tc\\d', 'm', 'l', 'small',
   'a', '{"k": [1, 2.50, {"n": null}], "big": 18446744073709551615, "small": -9223372036854775808}'),
  ('Banana', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '[]'),
  ('Äpfel und Birnen', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  ('zebra', 'é', '😀 日本 e\u0301', 'ß', 'ё', '龍', 'ẞ', '~', 'exact', ' ', '\\N', '\\.', 'NULL', 'middle ''one''', 'a,b c,ü,d''e',
   '"é😀\\u0007"'),
  ('%s {0} `x` "y"', '%', '%s', '{}', '"', '''', '`', '\\', '|', '~', '1:a', '0', 'null', 'groß', 'd''e', '1e2'),
  ('strasse', 'a', 'a|b', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'small', 'b c', '{"b":1,"a":2,"aa":{"é":[true,false,1.0,1e300]}}');
INSERT INTO texts (code, lt, mt) VALUES ('long', REPEAT('dài ', 100000), REPEAT('x', 300000));

CREATE TABLE bytes (
  tenant INT NOT NULL, id BINARY(16) NOT NULL,
  bin BINARY(4) NULL, vb VARBINARY(100) NULL, tb TINYBLOB NULL, bl BLOB NULL, mb MEDIUMBLOB NULL, lb LONGBLOB NULL,
  PRIMARY KEY (tenant, id)
);
INSERT INTO bytes VALUES
  (-1, 0x00000000000000000000000000000000, 0x00000000, '', '', '', '', ''),
  (-1, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF, 0xFFFFFFFF, 0x00, 0x00FF, 0x5C78, 0x0A, 0x2C),
  (0, 0x0123456789ABCDEF0123456789ABCDEF, NULL, NULL, NULL, NULL, NULL, NULL),
  (2147483647, 0x5C5C5C5C5C5C5C5C5C5C5C5C5C5C5C5C, 0x01, 0xDEADBEEF00, 'text', 'text', REPEAT('y', 70000), REPEAT(0x00, 300000));

CREATE TABLE people (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(80) COLLATE utf8mb4_0900_ai_ci NOT NULL,
  nick VARCHAR(40) COLLATE utf8mb4_general_ci NULL,
  token CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  boss INT NULL,
  born DATE NULL,
  score INT NOT NULL DEFAULT 0,
  UNIQUE KEY (email), UNIQUE KEY nick_born (nick, born), UNIQUE KEY (token), KEY long_first (email(5)), KEY back (born DESC),
  CONSTRAINT boss_fk FOREIGN KEY (boss) REFERENCES people (id),
  CONSTRAINT score_range CHECK (score >= 0)
);
INSERT INTO people (email, nick, token, boss, born, score) VALUES
  ('anna@example.com', 'anna', 'A0000000-0000-0000-0000-000000000001', NULL, '1990-01-01', 1),
  ('ben@example.com', 'Ben ', 'a0000000-0000-0000-0000-000000000001', 1, '1990-01-01', 2),
  ('chi@example.com', NULL, 'b0000000-0000-0000-0000-000000000001', 1, NULL, 3),
  ('đạt@example.com', 'Đạt', 'b0000000-0000-0000-0000-000000000002', 2, '2001-02-03', 4);
