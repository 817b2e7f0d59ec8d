"""A daemon between an ERP and a shop as the status page is told of it: when all is well, and when much is not."""

import math
import time
from pathlib import Path

import msgspec

from cdcd import config_rules
from cdcd.blueprint import draw
from cdcd.notices.occurrences import Occurrence
from cdcd.notices.store import Store, path_of
from cdcd.parking.parked import ParkedRecords
from cdcd.report import Counter, ErrorNote
from cdcd.resolve.keys import encode_key
from cdcd.scheduling.deliveries import Standing
from cdcd.state import State
from cdcd.status import (
    CaptureStatus,
    CopyStatus,
    DaemonStatus,
    DeliverStatus,
    DirectoryStatus,
    JournalStatus,
    ResolveStatus,
    SourceLogStatus,
    SuspendedStatus,
    SystemStatus,
    WorkerStatus,
)
from cdcd.verifying import results
from cdcd.verifying.results import Asked, Comparison, Results
from cdcd.web.samples import SAMPLE_SECONDS, SAMPLES_MAX, Samples
from unit.web.site_under_test import Told

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
CONFIG = """
[daemon]
name = "acme"
state-dir = "{state}"
listen = "127.0.0.1:0"
[web]
keys-shown = ["product"]
[systems.erp]
adapter = "memory"
server = "erp"
[systems.shop]
adapter = "memory"
server = "shop"
[entities.product]
key = ["sku"]
create = ["erp"]
fields = {{ sku = {{ type = "text" }}, name = {{ type = "text", owner = "erp" }}, price = {{ type = "text", owner = "erp" }} }}
in.erp = {{ table = "item", columns = {{ sku = "code", name = "name", price = "price" }} }}
in.shop = {{ table = "products", columns = {{ sku = "sku", name = "title", price = "cents" }} }}
[entities.customer]
key = ["number"]
create = ["shop"]
fields = {{ number = {{ type = "text" }}, name = {{ type = "text", owner = "shop" }} }}
in.erp = {{ table = "partner", columns = {{ number = "no", name = "name" }} }}
in.shop = {{ table = "customers", columns = {{ number = "no", name = "name" }} }}
"""
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def now_us() -> int:
    return time.time_ns() // 1000


def worker(state: str = "running", error: ErrorNote | None = None, restarts: int = 0) -> WorkerStatus:
    now = now_us()
    return WorkerStatus(state, now - 3 * DAY, 4711, restarts, now, now - SECOND, "0/1A2B3C4D", error)  # type: ignore[arg-type]


def well() -> DaemonStatus:
    """Everything runs."""
    now = now_us()
    copies = (CopyStatus("public.item", 48_211, True), CopyStatus("public.partner", 9_120, True))
    log = SourceLogStatus(now, "reserved", 0.93)
    erp = SystemStatus(
        "postgres",
        CaptureStatus(worker(), "0/1A2B3C4D", 0.2, 0, 2**20, now, copies, log),
        DeliverStatus(worker(), False, 9_120, 0.3, 3, 1_412, 0, 0.4),
    )
    binlog = SourceLogStatus(now, "", None, 2.6 * 86_400)
    shop = SystemStatus(
        "mysql",
        CaptureStatus(worker(), "mysql-bin.000042 1337", 0.1, 0, 2**20, now, (), binlog),
        DeliverStatus(worker(), False, 11_204, 0.4, 12, 9_813, 0, 0.6, (schedule(now),)),
    )
    phases = {"product": "live", "customer": "live"}
    return DaemonStatus(
        "acme",
        "0.1.0",
        True,
        1234,
        now,
        now - 3 * DAY,
        {"erp": erp, "shop": shop},
        ResolveStatus(worker(), 88_120, 0.1, 4, phases, 0, 0),
        JournalStatus(88_124, 412 * 2**20, 20 * 2**30, 88_124, now - 12 * DAY),
        counters(),
        standby="pid 991 on this machine",
        directory=DirectoryStatus(733 * 2**20, 81 * 2**30),
    )


def schedule(now: int, **changes: object) -> Standing:
    made = Standing("product", "every 10m", 214, now - 4 * MINUTE, False, False, False, False, 0, 0, now + 6 * MINUTE)
    return msgspec.structs.replace(made, **changes)


def counters(factor: int = 1) -> tuple[Counter, ...]:
    decided = {"written": 48_210, "echo": 47_958, "equal": 1_204, "revert": 12, "ignore": 3}
    return (
        Counter("captured_changes", ("erp",), 52_118 * factor),
        Counter("captured_changes", ("shop",), 12_007 * factor),
        Counter("delivered_writes", ("erp", "product", "update"), 9_120 * factor),
        Counter("delivered_writes", ("shop", "product", "update"), 48_211 * factor),
        *(Counter("resolved_changes", ("erp", "product", name), count) for name, count in decided.items()),
        Counter("resolved_changes", ("shop", "customer", "written"), 9_871),
    )


def trouble() -> DaemonStatus:
    """A target is away, an entity is suspended, records are parked, a table is copied, the journal fills."""
    now, status = now_us(), well()
    away = ErrorNote(
        "unavailable", "the server did not answer", "connection refused", "it is tried again", now - MINUTE
    )
    gone = ErrorNote(
        "column-missing",
        "column list_price of public.item is gone",
        HOSTILE,
        "bind the field to another column and 'cdcd reload', or 'cdcd resync product'",
        now - 9 * MINUTE,
    )
    erp, shop = status.systems["erp"], status.systems["shop"]
    copies = (
        CopyStatus("public.item", 31_000, False, 48_000, rows_per_second=1_840.0),
        CopyStatus("public.partner", 512, False, paused=True),
    )
    assert erp.capture is not None
    assert erp.deliver is not None
    assert shop.deliver is not None
    erp = SystemStatus(
        erp.adapter,
        msgspec.structs.replace(erp.capture, copies=copies, lag_seconds=42.0, lag_bytes=918_221),
        msgspec.structs.replace(erp.deliver, paused=True),
    )
    late = (
        schedule(now, behind=True),
        schedule(now, entity="customer", schedule="realtime", reason="an operator", held=True),
    )
    shop = SystemStatus(
        shop.adapter,
        shop.capture,
        msgspec.structs.replace(
            shop.deliver,
            worker=worker("retrying", away, 2),
            lag_seconds=1_320.0,
            end_to_end_lag_seconds=1_362.0,
            lag_events=81_233,
            waiting_bytes=31 * 2**20,
            parked=37,
            later=late,
        ),
    )
    resolve = msgspec.structs.replace(
        status.resolve,
        conflicts=4,
        held=2,
        waiting=18,
        waiting_since_seq=4_711,
        suspended=(SuspendedStatus("product", 80_001, 8_120, gone),),
    )
    return msgspec.structs.replace(
        status,
        systems={"erp": erp, "shop": shop},
        resolve=resolve,
        journal=JournalStatus(88_124, 17 * 2**30, 20 * 2**30),
        remarks=(
            "/etc/cdcd/cdcd.toml was changed since it was loaded: 'cdcd reload --dry-run' says what it would change",
        ),
        standby="",
    )


class Showcase(Told):
    """A site with everything on it."""

    def __init__(self, directory: Path, **web: object) -> None:
        file = directory / "cdcd.toml"
        file.write_text(CONFIG.format(state=directory / "state"))
        blueprint = draw(config_rules.load(file), str(file))
        if web:
            config = blueprint.config
            changed = msgspec.structs.replace(config, web=msgspec.structs.replace(config.web, **web))
            blueprint = msgspec.structs.replace(blueprint, config=changed)
        super().__init__(directory / "state", blueprint=blueprint)
        self.show(well())

    def show_trouble(self) -> None:
        """Tell the page that much is not well."""
        self.show(trouble(), late_seconds=1_300.0)

    def show(self, status: DaemonStatus, *, late_seconds: float = 0.0) -> None:
        """Tell the page of that status, with half an hour before it; the shop has been late lately."""
        self.samples = Samples()
        self.status = status
        for number in range(SAMPLES_MAX):
            age = SAMPLES_MAX - number
            at_us = status.at_us - int(age * SAMPLE_SECONDS * SECOND)
            lag = (
                0.3 + 0.25 * math.sin(number / 7) ** 4 + (late_seconds * max(0, 60 - age) / 60 if late_seconds else 0.0)
            )
            self.samples.take(past(status, at_us, lag, number / SAMPLES_MAX))


def past(status: DaemonStatus, at_us: int, lag_seconds: float, share: float) -> DaemonStatus:
    """The status as it may have been."""
    replace = msgspec.structs.replace
    systems = {
        name: SystemStatus(
            system.adapter,
            system.capture and replace(system.capture, lag_seconds=0.6 * lag_seconds),
            system.deliver and replace(system.deliver, end_to_end_lag_seconds=lag_seconds),
        )
        for name, system in status.systems.items()
    }
    counted = tuple(replace(counter, value=int(counter.value * share)) for counter in status.counters)
    return replace(status, at_us=at_us, systems=systems, counters=counted)


# ---- what lies in the state directory ----------------------------------------------------------------------------


def put_trouble(told: Told) -> None:
    """Parked records, conflicts, records, events and verifications, as the daemon would have left them."""
    now = now_us()
    plan = told.blueprint.plan()
    product, customer = plan.entities["product"].number, plan.entities["customer"].number
    parked = ParkedRecords(told.directory.deliver("shop"))
    cause = "column title of products is too short (error 1406)"
    parked.park([((product, encode_key((f"A-{n}",))), None) for n in range(34)], 1, "too-long", cause)
    parked.park([((customer, encode_key((f"C-{n}",))), None) for n in range(3)], 1, "row-missing", HOSTILE)
    parked.close()
    state = State(told.directory.state)
    with state.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO conflicts (entity, key, system, slot, kind, seq, at_us, value) VALUES (?,?,1,1,'held',7,?,NULL)",
            [(product, encode_key((HOSTILE if n == 0 else f"A-{n}",)), now - n * HOUR) for n in range(4)],
        )
        rows = [(product, encode_key((f"A-{n}",)), b"") for n in range(5_000)]
        connection.executemany("INSERT INTO golden VALUES (?,?,?)", rows)
    state.close()
    put_events(told, now)
    verified = Results(results.path_in(told.directory.path))
    run = verified.ask(Asked(("product", "customer"), ("shop",)), [("product", "shop"), ("customer", "shop")])
    verified.begin(run)
    began = now - 26 * HOUR
    done = Comparison("product", "shop", "done", "", 5_000, 5_000, 5_000, 3, 1, 0, {}, 0, began, began + MINUTE)
    verified.keep(run, 0, done, whole=True)
    verified.keep(run, 1, Comparison("customer", "shop", "reading", "", 4_100, 9_120, began_at_us=now - 20 * SECOND))
    verified.close()


def put_events(told: Told, now: int) -> None:
    store = Store(path_of(told.directory))
    shop = "shop does not answer: the server did not answer (connection refused)"
    events = [
        Occurrence(now - 3 * DAY, "info", "started", "daemon", "the daemon started", now - 3 * DAY),
        Occurrence(now - 20 * HOUR, "warning", "lag", "shop", "shop is 18 minutes behind", now - 19 * HOUR),
        Occurrence(now - 22 * MINUTE, "warning", "target-unavailable", "shop", shop, None, "cdcd status"),
        Occurrence(now - 9 * MINUTE, "critical", "entity-suspended", "product", f"product is suspended: {HOSTILE}"),
    ]
    store.keep([(event, ()) for event in events], {}, now)
    store.close()
