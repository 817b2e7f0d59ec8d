"""Fields that several systems share, of which the last change counts (owner = "latest")."""

import time

import pytest

from unit.small_line import delete, insert, update

CONTACT = """
[entities.contact]
key = ["number"]
create = ["erp"]
delete = ["erp"]
[entities.contact.fields]
number = { type = "text(20)", owner = "erp" }
phone = { type = "text(20)", owner = "latest" }
city = { type = "text(20)", owner = "erp" }
[entities.contact.in.erp]
table = "party"
columns = { number = "code", phone = "phone", city = "city" }
[entities.contact.in.shop]
table = "people"
columns = { number = "number", phone = "phone", city = "city" }
"""
TABLES = {
    "erp": {"party": {"id": "integer", "code": "text(20)", "phone": "text(20)", "city": "text(20)"}},
    "shop": {"people": {"id": "integer", "number": "text(20)", "phone": "text(20)", "city": "text(20)"}},
}
SECOND = 1_000_000


@pytest.fixture
def line(make_line):
    """Contact A, with phone 0, in both systems; the clocks stand at 100 seconds."""
    line = make_line(CONTACT, TABLES)
    line.apps["erp"].write(insert("party", id=1, code="A", phone="0", city="Ulm"), at_us=100 * SECOND)
    line.resolve()
    line.apps["shop"].echo(insert("people", id=7, number="A", phone="0", city="Ulm"))
    line.resolve()
    line.told("shop")
    return line


def phone(line):
    return line.values("contact", "A")["phone"]


def told(line, system):
    return [(one.kind, one.fields) for one in line.told(system)]


def erp_calls(line, number, second):
    line.apps["erp"].write(update("party", 1, phone=number), at_us=second * SECOND)


def shop_calls(line, number, second):
    line.apps["shop"].write(update("people", 7, phone=number), at_us=second * SECOND)


@pytest.mark.parametrize("erp_first", [True, False])
def test_of_two_changes_that_did_not_know_each_other_the_later_counts_in_either_order_of_the_logs(line, erp_first):
    changes = [(erp_calls, "erp", 110), (shop_calls, "shop", 120)]
    for call, number, second in changes if erp_first else reversed(changes):
        call(line, number, second)
    line.resolve()
    assert phone(line) == "shop"
    assert told(line, "erp") == [("UPDATE", {"phone": "shop"})]


def test_our_late_write_of_the_earlier_change_is_put_right_where_it_hit_the_later_one(line):
    erp_calls(line, "erp", 110)
    shop_calls(line, "shop", 120)
    line.resolve()
    assert told(line, "shop") == [("UPDATE", {"phone": "erp"})]
    line.apps["shop"].echo(update("people", 7, phone="erp"))
    line.resolve()
    assert phone(line) == "shop"
    assert told(line, "shop") == [("UPDATE", {"phone": "shop"})]
    line.apps["shop"].echo(update("people", 7, phone="shop"))
    line.apps["erp"].echo(update("party", 1, phone="shop"))
    line.resolve()
    assert line.told("shop") == []
    assert phone(line) == "shop"


def test_a_change_that_has_lost_is_kept_and_overwritten_by_what_is_on_its_way(line):
    shop_calls(line, "shop", 120)
    erp_calls(line, "erp", 110)
    line.resolve()
    assert told(line, "erp") == [("UPDATE", {"phone": "shop"})]
    assert line.conflicts() == []
    assert line.conflicts(kept=True) == [("contact", ("A",), "erp", "older", "phone", "erp")]
    assert line.counted("erp", "contact")["older"] == 1


def test_where_the_times_are_the_same_the_system_that_is_named_first_counts(make_line):
    for between, winner in ((["erp", "shop"], "erp"), (["shop", "erp"], "shop")):
        text = CONTACT.replace('owner = "latest"', f'owner = "latest", between = {between}')
        for order in ((erp_calls, shop_calls), (shop_calls, erp_calls)):
            line = make_line(text, TABLES)
            line.apps["erp"].write(insert("party", id=1, code="A", phone="0", city="Ulm"), at_us=100 * SECOND)
            line.resolve()
            line.apps["shop"].echo(insert("people", id=7, number="A", phone="0", city="Ulm"))
            for call in order:
                call(line, "erp" if call is erp_calls else "shop", 110)
            line.resolve()
            assert phone(line) == winner


def test_who_has_seen_the_present_value_is_later_whatever_its_clock_says(line):
    shop_calls(line, "shop", 500)
    line.resolve()
    line.apps["erp"].echo(update("party", 1, phone="shop"))
    erp_calls(line, "erp", 110)
    line.resolve()
    assert phone(line) == "erp"
    assert told(line, "shop") == [("UPDATE", {"phone": "erp"})]
    shop_calls(line, "late", 499)
    line.resolve()
    assert phone(line) == "erp", "which counts as later than what it replaced"


def test_a_clock_that_is_far_ahead_is_not_believed(line):
    now = time.time_ns() // 1_000_000_000
    shop_calls(line, "tomorrow", now + 86_400)
    line.resolve()
    erp_calls(line, "a minute on", now + 9)
    line.resolve()
    assert phone(line) == "a minute on"


def test_an_image_with_an_old_value_is_no_change(line):
    erp_calls(line, "erp", 110)
    line.resolve()
    line.apps["shop"].write(update("people", 7, city="Bonn", phone="0"), at_us=130 * SECOND)
    line.resolve()
    assert phone(line) == "erp"


def test_a_rewind_and_a_resync_change_no_value_and_no_order(line):
    shop_calls(line, "shop", 120)
    line.resolve()
    line.apps["erp"].echo(update("party", 1, phone="shop"))
    line.command("rewind", system="erp", since_us=0)
    line.resync("contact")
    line.apps["erp"].echo(update("party", 1, phone="shop"))
    line.resolve()
    assert phone(line) == "shop"
    assert line.told("shop") == []
    assert {fields["phone"] for _, fields in told(line, "erp") if "phone" in fields} == {"shop"}


def test_a_copy_of_a_system_that_was_not_read_before_does_not_count_as_latest(make_line):
    line = make_line(CONTACT, TABLES)
    line.apps["erp"].write(insert("party", id=1, code="A", phone="0", city="Ulm"))
    line.resolve()
    line.apps["shop"].rows["people"][7] = {"id": 7, "number": "A", "phone": "old", "city": "Ulm"}
    line.resync("contact")
    assert phone(line) == "0"
    assert ("UPDATE", {"phone": "0"}) in told(line, "shop")


def test_at_first_the_first_system_that_shares_the_field_is_right(make_line):
    text = CONTACT.replace('owner = "latest"', 'owner = "latest", between = ["shop", "erp"]')
    line = make_line(text, TABLES, live=False)
    line.apps["erp"].rows["party"][1] = {"id": 1, "code": "A", "phone": "e", "city": "Ulm"}
    line.apps["shop"].rows["people"][7] = {"id": 7, "number": "A", "phone": "s", "city": "Bonn"}
    line.go_live()
    assert line.values("contact", "A") == {"number": "A", "phone": "s", "city": "Ulm"}
    assert told(line, "erp") == [("UPDATE", {"phone": "s"})]
    assert told(line, "shop") == [("UPDATE", {"city": "Ulm"})]


def test_a_system_that_does_not_share_the_field_is_no_owner(make_line):
    text = CONTACT.replace('owner = "latest"', 'owner = "latest", between = ["erp"]')
    line = make_line(text, TABLES)
    line.apps["erp"].write(insert("party", id=1, code="A", phone="0", city="Ulm"))
    line.resolve()
    line.apps["shop"].echo(insert("people", id=7, number="A", phone="0", city="Ulm"))
    line.resolve()
    line.told("shop")
    shop_calls(line, "mine", 10**6)
    line.resolve()
    assert told(line, "shop") == [("UPDATE", {"phone": "0"})]


def test_a_deleted_contact_forgets_who_called_last(line):
    shop_calls(line, "shop", 10**6)
    line.apps["erp"].write(delete("party", 1))
    line.apps["erp"].write(insert("party", id=2, code="A", phone="anew", city="Ulm"), at_us=130 * SECOND)
    line.resolve()
    assert phone(line) == "anew"
