"""The status page in a real browser."""

import re

import pytest

from cdcd.web.samples import SAMPLES_MAX
from web import showcase
from web.looking import CONTRASTS, PHONE, Looking
from web.showcase import Showcase

SECTIONS = ["verdict", "systems", "waiting", "entities", "events", "queues", "schedules", "verification", "processes"]


# ---- what is there -----------------------------------------------------------------------------------------------


def test_one_look_tells_that_all_is_well(looking: Looking, well: Showcase):
    page = looking.open(well.site.port)
    assert page.inner_text("h1") == "All is well"
    assert page.title() == "All is well · cdcd acme"
    assert "/assets/well.svg" in str(page.get_attribute("#icon", "href"))
    assert page.locator(".concerns").count() == 0
    assert "Nothing. No record is parked" in page.inner_text("#waiting")
    assert [section.get_attribute("id") for section in page.locator("section").all()] == SECTIONS


def test_one_look_tells_what_is_wrong_and_what_to_do(looking: Looking, troubled: Showcase):
    page = looking.open(troubled.site.port)
    assert page.inner_text("h1").startswith("1 thing needs you now, and ")
    first = page.locator(".concerns li").first
    assert first.locator(".tone").inner_text().endswith("critical")
    assert "product is suspended" in first.inner_text()
    assert "cdcd resync product" in first.inner_text()
    commands = page.locator(".concerns code").all_inner_texts()
    assert "cdcd parked list --system shop" in commands
    assert "cdcd resume erp" in commands


def test_everything_has_its_place(looking: Looking, troubled: Showcase):
    page = looking.open(troubled.site.port)
    rows = page.locator("#systems tbody tr")
    assert rows.count() == 5
    assert rows.last.inner_text().split() >= ["shop", "mysql", "written", "to"]
    assert "retrying" in rows.last.inner_text()
    assert rows.last.locator("svg path.line").get_attribute("d").count("L") > 10
    assert "/s" in rows.last.inner_text()
    progress = page.locator("#progress li")
    assert progress.count() == 3
    assert progress.first.locator("progress").get_attribute("value") == "0.646"
    assert "31,000 of about 48,000 rows · 1,840 rows/s · about 9.2 s left" in progress.first.inner_text()
    assert "paused" in progress.nth(1).inner_text()
    assert "85%" in page.inner_text("#verdict")
    assert page.get_attribute("#queues meter", "value") == "0.850"
    assert "every 10m" in page.inner_text("#schedules")
    assert "3 missing, 1 different" in page.inner_text("#verification")
    assert "5,000" in page.inner_text("#entities")
    assert "the daemon started" in page.inner_text("#events")


def test_what_waits_for_a_person_is_named_by_reason_and_the_last_by_key_only_where_keys_may_be_shown(
    looking: Looking, troubled: Showcase
):
    page = looking.open(troubled.site.port)
    groups = page.locator("#waiting tbody tr").all_inner_texts()
    assert groups[0].split()[:5] == ["product", "for", "shop", "too-long", "34"]
    page.click("#parked-records summary")
    records = page.locator("#parked-records li").all_inner_texts()
    products = [record for record in records if record.startswith("product")]
    assert all(re.match(r"product A-\d+ for shop, .* column title of products is too short", one) for one in products)
    customers = [record for record in records if record.startswith("customer")]
    assert (len(products), len(customers)) == (9, 3)
    assert not any("C-" in record for record in customers)


# ---- it lives ----------------------------------------------------------------------------------------------------


def test_the_page_changes_by_itself_and_leaves_alone_what_somebody_has_opened(looking: Looking, own: Showcase):
    page = looking.open(own.site.port)
    page.click("#process-list summary")
    page.evaluate("document.getElementById('main').dataset.mine = 'kept'")
    own.show(showcase.trouble())
    page.wait_for_selector("#verdict[data-level=critical]")
    assert page.title().startswith("1 thing needs you now")
    assert "/assets/critical.svg" in str(page.get_attribute("#icon", "href"))
    assert page.locator("#process-list[open]").count() == 1
    assert page.evaluate("document.activeElement.parentElement.id") == "process-list"
    assert page.get_attribute("#main", "data-mine") == "kept"
    assert looking.asked.count("/") == 1
    own.show(showcase.well())
    page.wait_for_selector("#verdict[data-level=well]")


def test_a_page_that_nobody_looks_at_asks_nothing(looking: Looking, own: Showcase):
    page = looking.open(own.site.port)
    page.wait_for_function("document.getElementById('pulse').dataset.state === 'live'")
    hide = "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.clock.install()
    page.reload()
    page.evaluate(hide, True)
    asked = looking.asked.count("/live")
    page.clock.run_for(60_000)
    assert looking.asked.count("/live") == asked
    assert page.inner_text("#pulse").startswith("paused")
    with page.expect_request("**/live"):
        page.evaluate(hide, False)


def test_a_daemon_that_does_not_answer_is_plain_to_see_and_when_it_is_back_too(looking: Looking, own: Showcase):
    looking.may_fail = True  # the browser complains about answers that are errors
    page = looking.open(own.site.port)
    own.is_silent = True
    page.wait_for_selector("#silence:not([hidden])")
    assert "The daemon does not answer: the supervisor does not answer" in page.inner_text("#silence")
    assert "What is below is from" in page.inner_text("#silence")
    assert page.title() == "No answer · cdcd acme"
    assert "All is well" in page.inner_text("h1")
    own.is_silent = False
    page.wait_for_selector("#silence", state="hidden")
    assert page.title() == "All is well · cdcd acme"
    own.site.close()
    page.wait_for_selector("#silence:not([hidden])")
    assert "The daemon is not reachable." in page.inner_text("#silence")


def test_a_page_loaded_while_the_daemon_does_not_answer_comes_back_by_itself(looking: Looking, own: Showcase):
    looking.may_fail = True
    own.is_silent = True
    page = looking.open(own.site.port)
    assert page.inner_text("h1") == "The daemon does not answer"
    own.is_silent = False
    page.wait_for_selector("#verdict[data-level=well]")


# ---- for everybody -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_without_scripts_everything_is_there_and_loads_again(looking: Looking, troubled: Showcase, path: str):
    looking.may_fail = path == "/nothing"
    page = looking.open(troubled.site.port, path, java_script_enabled=False)
    if path == "/":
        assert "product is suspended" in page.inner_text("#verdict")
        assert page.locator('meta[http-equiv="refresh"][content="10"]').count() == 1
        assert "loads again every 10 s" in page.inner_text("header")
    else:
        assert "here are / /status.json" in page.inner_text("body")


@pytest.mark.parametrize("site", ["well", "troubled"])
def test_on_a_phone_nothing_is_cut_off(looking: Looking, request: pytest.FixtureRequest, site: str):
    page = looking.open(request.getfixturevalue(site).site.port, viewport=PHONE, is_mobile=True, has_touch=True)
    page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    outside = """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility()
        && !one.closest(".unseen, .skip, thead") && one.getBoundingClientRect().right > innerWidth + 0.5)
        .map((one) => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("site", ["well", "troubled"])
def test_every_text_can_be_read_by_day_and_by_night(
    looking: Looking, request: pytest.FixtureRequest, site: str, scheme: str
):
    page = looking.open(request.getfixturevalue(site).site.port, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 247)", "dark": "rgb(18, 22, 26)"}[scheme]
    assert page.evaluate(CONTRASTS) == []


def test_a_screen_reader_finds_its_way(looking: Looking, troubled: Showcase):
    page = looking.open(troubled.site.port)
    assert page.get_by_role("banner").count() == page.get_by_role("main").count() == 1
    assert page.get_by_role("contentinfo").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("region", name="Systems").count() == 1
    table = page.get_by_role("region", name="Systems").get_by_role("table")
    assert table.get_by_role("columnheader").count() == 7
    assert table.get_by_role("rowheader").count() == 5
    names = page.evaluate("[...document.querySelectorAll('svg[role=img], progress, meter')].map((e) => e.ariaLabel)")
    assert all(names)
    assert page.get_attribute("html", "lang") == "en"
    for tone in page.locator(".concerns li").all():  # the words say it, not only the colours
        assert tone.locator(".tone").inner_text().split()[-1] in ("critical", "warning", "info")


def test_hostile_texts_stay_texts(looking: Looking, troubled: Showcase):
    page = looking.open(troubled.site.port)
    page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
    with page.expect_response("**/live"):
        pass
    assert page.locator("main script, main img").count() == 0
    assert "taken" not in page.title()
    assert showcase.HOSTILE in page.inner_text("#events")
    assert showcase.HOSTILE in page.inner_text("#parked-records")
    assert showcase.HOSTILE[:70] in page.inner_text("#conflict-records")


def test_ten_viewers_cost_about_as_much_as_one(own: Showcase, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr("cdcd.web.pages.KEPT_SECONDS", 60.0)
    monkeypatch.setattr(own, "_history", lambda: asked.append(1) or own.samples.history())
    own.daemon.history()
    assert len(own.samples.history().at_us) == SAMPLES_MAX
    for _ in range(10):
        assert own.get("/live").code == 200
    assert len(asked) <= 1
