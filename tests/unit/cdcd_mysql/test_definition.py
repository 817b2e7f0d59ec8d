"""What SHOW CREATE TABLE says."""

from cdcd_mysql.definition import DefinedKey, foreign_keys, json_columns

DEFINITION = """CREATE TABLE `child` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `p` int(11) DEFAULT NULL,
  `q``` int(11) DEFAULT NULL,
  `j` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`j`)),
  `k``` longtext COMMENT 'CHECK (json_valid(x))' CHECK (JSON_VALID(`k```)),
  `text` longtext COMMENT 'CHECK (json_valid(`text`))',
  `other` longtext CHECK (octet_length(`other`) > 1),
  PRIMARY KEY (`id`),
  CONSTRAINT `fk` FOREIGN KEY (`p`, `q```) REFERENCES `parent` (`id`, `i``d2`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `far``` FOREIGN KEY (`p`) REFERENCES `other``db`.`parent` (`id`) ON DELETE SET NULL,
  CONSTRAINT `plain` FOREIGN KEY (`p`) REFERENCES `parent` (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='  CONSTRAINT `no` FOREIGN KEY (`p`) REFERENCES `parent` (`id`)'"""


def test_json_is_told_from_text_by_its_check():
    assert json_columns(DEFINITION) == {"j", "k`"}


def test_foreign_keys_have_their_actions():
    assert list(foreign_keys(DEFINITION)) == [
        DefinedKey("fk", "", "parent", "CASCADE", "SET NULL", (("p", "id"), ("q`", "i`d2"))),
        DefinedKey("far`", "other`db", "parent", "SET NULL", "RESTRICT", (("p", "id"),)),
        DefinedKey("plain", "", "parent", "RESTRICT", "RESTRICT", (("p", "id"),)),
    ]
