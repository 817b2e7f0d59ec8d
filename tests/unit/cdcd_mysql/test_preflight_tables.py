"""What is said of foreign keys and triggers."""

import re
from types import SimpleNamespace

import pytest

from cdcd.adapter import TableNeed
from cdcd_mysql.captured import TableName
from cdcd_mysql.charsets import Charset
from cdcd_mysql.preflight_tables import ForeignKey, assignment, check_captured


def test_the_remedy_of_a_foreign_key_does_by_a_trigger_what_it_did():
    rows = [
        ("f`k", "shop", "parent", "CASCADE", "RESTRICT", "p1", "id1"),
        ("f`k", "shop", "parent", "CASCADE", "RESTRICT", "p2", "id2"),
    ]
    statements = ForeignKey(TableName("shop", "child"), rows).remedy().split("; ")
    assert statements == [
        "ALTER TABLE `shop`.`child` DROP FOREIGN KEY `f``k`",
        "ALTER TABLE `shop`.`child` ADD CONSTRAINT `f``k` FOREIGN KEY (`p1`, `p2`) REFERENCES `shop`.`parent` (`id1`, `id2`)",
        (
            "CREATE TRIGGER `shop`.`f``k_deleted` BEFORE DELETE ON `shop`.`parent` FOR EACH ROW"
            " DELETE FROM `shop`.`child` WHERE `p1` = OLD.`id1` AND `p2` = OLD.`id2`"
        ),
    ]


def test_a_foreign_key_that_only_follows_keys_needs_no_trigger():
    rows = [("fk", "shop", "parent", "RESTRICT", "CASCADE", "p", "id")]
    assert "TRIGGER" not in ForeignKey(TableName("shop", "child"), rows).remedy()


@pytest.mark.parametrize(
    "body",
    [
        "SET NEW.price = 1",
        "BEGIN SET new . `Price` := 1; END",
        "SET NEW.a = 1, NEW.price = 2",
        "SELECT p INTO NEW.price FROM t",
    ],
)
def test_a_trigger_that_sets_a_column_is_seen(body):
    assert re.search(assignment("price"), body, re.IGNORECASE)


@pytest.mark.parametrize(
    "body", ["SET NEW.prices = 1", "IF NEW.price = 1 THEN SET NEW.a = 1; END IF", "SET @x = NEW.price"]
)
def test_a_trigger_that_only_reads_it_is_not(body):
    assert not re.search(assignment("price"), body, re.IGNORECASE)


def test_a_character_set_that_a_later_server_has_and_we_cannot_decode_is_refused():
    context = SimpleNamespace(settings={}, error=lambda *facts: facts)
    column = SimpleNamespace(name="v", charset=Charset("unheard", 1, None), data_type="varchar")
    table = SimpleNamespace(name=TableName("shop", "t"), spelled="t", primary_key=("id",), columns=(column,))
    ((code, subject, message, remedy),) = check_captured(context, TableNeed("t"), table)
    assert (code, subject) == ("charset", "t")
    assert "unheard" in message
    assert "utf8mb4" in remedy
