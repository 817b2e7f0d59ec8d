"""Configuration: what a person meets who gets it wrong, and that the shipped files are right."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest

from cdcd import config, config_rules
from cdcd.config import Config, Secret
from cdcd.errors import ConfigError
from cdcd_postgres.options import Options

FILES = Path(config.__file__).parent.parent / "config"
EXAMPLE = (FILES / "cdcd.example.toml").read_text()


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "cdcd.toml"
    path.write_text(text)
    return config_rules.load(path)


def complaint(tmp_path: Path, old: str, new: str) -> str:
    """What is said about the example with one thing changed."""
    assert old in EXAMPLE, old
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, EXAMPLE.replace(old, new, 1))
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert str(tmp_path / "cdcd.toml") in caught.value.what
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("name", ["cdcd.example.toml", "cdcd.minimal.toml"])
def test_the_shipped_files_load(name: str):
    assert config_rules.load(FILES / name).daemon.name == "acme"


def keys_of(kind: Any) -> set[str]:
    """All keys that the structs reachable from `kind` know."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return {f.encode_name for f in fields}.union(*(keys_of(f.type) for f in fields))
    return (
        set().union(*(keys_of(a) for a in get_args(kind) if get_origin(kind) is not None)) if get_args(kind) else set()
    )


def keys_in(raw: object) -> set[str]:
    if isinstance(raw, dict):
        return set(raw).union(*(keys_in(value) for value in raw.values()))
    return set().union(*(keys_in(value) for value in raw)) if isinstance(raw, list) else set()


def test_the_example_shows_every_key():
    transforms = (FILES / "examples" / "transforms.toml").read_text("utf-8")
    assert keys_of(Config) - keys_in(tomllib.loads(EXAMPLE)) - keys_in(tomllib.loads(transforms)) == set()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("state-dir", "state-dri", "daemon: unknown key 'state-dri'; did you mean 'state-dir'?"),
        ("[journal]", "[jurnal]", "top level: unknown key 'jurnal'; did you mean 'journal'?"),
        ('name      = "acme"', "", "daemon: missing key 'name'; add name = \"…\""),
        ('name      = "acme"', 'name = "Acme Co"', "daemon.name: expected a name of lower-case letters"),
        ('listen    = "127.0.0.1:9145"', "listen = 9145", "daemon.listen: expected a text in quotes, got 9145"),
        ("127.0.0.1:9145", "127.0.0.1:99999", "daemon.listen: expected host:port, got '127.0.0.1:99999'"),
        ('"/var/lib/cdcd"', '"state"', "daemon.state-dir: expected an absolute path, got 'state'"),
        ('owner = "erp" }\nprice', 'onwer = "erp" }\nprice', "entities.product.fields.name: unknown key 'onwer'"),
        ("scale  = 100 ", "scale = 0", "columns.price.scale: expected a whole number >= 1, got 0"),
        ("scale  = 100 ", "scle = 100", "columns.price: unknown key 'scle'; did you mean 'scale'?"),
        (
            'default = "revert"',
            'default = "reverts"',
            "expected one of revert, ignore, hold, got 'reverts'; did you mean",
        ),
        ('fields  = { stock = "ignore" }', 'fields = { stok = "hold" }', "not-owner.fields: unknown field 'stok'; did"),
        ("{ archive = { status", "{ archve = { status", "on-delete: unknown key 'archve'; did you mean 'archive'?"),
        ('{ archive = { status = "retired" } }', '"drop"', "on-delete: expected one of delete, ignore or a table of"),
        ('status = "retired" } }', 'status = "gone" } }', "archive.status: unknown member of the enum 'gone'"),
        ('key    = ["sku"]', 'key = "sku"', "entities.product.key: expected a list in brackets, got 'sku'"),
        ('key    = ["sku"]', "key = []", "entities.product.key: empty; name the fields"),
        ('key    = ["sku"]', "key = [5]", "entities.product.key[0]: expected a text in quotes, got 5"),
        ('create = ["erp"]', 'create = ["erpp"]', "create: unknown system of this entity 'erpp'; did you mean 'erp'?"),
        ("[systems.erp]", "[systems.ERP]", "systems: expected a name of lower-case letters, digits and _"),
        ('adapter  = "postgres"', "", "systems.erp: missing key 'adapter'"),
        ("text(64)", "txt(64)", "fields.sku.type: unknown type 'txt(64)'; types are boolean"),
        ("decimal(12,4)", "decimal(12)", "fields.price.type: decimal takes precision and scale"),
        ("ref(customer)", "ref(custmer)", "unknown entity 'custmer'; did you mean 'customer'?"),
        ('"14d"', '"2 weeks"', "journal.keep: expected a duration like 10m, 24h or 14d, got '2 weeks'"),
        ('"20GiB"', '"20GB"', "journal.max-size: expected a size like 512MiB or 20GiB, got '20GB'"),
        ('sku         = "code"\n', "", "in.erp.columns: key field 'sku' is not bound; add sku = \"column\""),
        ('table   = "public.item"', "", "entities.product.in.erp: missing key 'table'; add table = \"…\""),
        ("[entities.customer.in.erp]", "[entities.customer.in.epr]", "unknown system 'epr'; did you mean 'erp'?"),
        ("['new', 'paid']", "['new', ", "ownership[0].when: not a CEL expression"),
        ("record.status in ['new'", "record.statsu in ['new'", "when: unknown field 'statsu'; did you mean 'status'?"),
        ("record.status in ['new'", "status in ['new'", "when: looks at no field; write record.FIELD"),
        ('false = "retired"', 'false = "active"', "map: two column values map to one field value"),
        ('0 = "retired"', '0 = "gone"', "columns.status.map: unknown member of the enum 'gone'"),
        ("Europe/Berlin", "Europe/Berln", "since.time-zone: unknown zone 'Europe/Berln'; use an IANA name"),
        ('{ value = "1970-01-01 00:00:00Z" }', '"nul"', "since.unfit: expected one of park, null or a table of"),
        ('{ value = "1970-01-01 00:00:00Z" }', "{ valu = 1 }", "since.unfit: unknown key 'valu'; did you mean 'value'"),
        ("1970-01-01 00:00:00Z", "never", "since.unfit: 'never' is no instant: the text has another form"),
        (
            'number = "customer_no"',
            'number = { column = "customer_no", unfit = "null" }',
            "columns.number.unfit: a key cannot be replaced",
        ),
        (
            'customer = "customer_id", status = "status"',
            'customer = { column = "customer_id", unfit = "null" }, status = "status"',
            "customer.unfit: nothing can stand in for a reference",
        ),
        (
            "public.carrier.valid_until",
            "public.carier.valid_until",
            "unfit: unknown table of this copy 'public.carier'",
        ),
        ('to     = "shop"', 'to = "erp"', "replicate[0]: from and to are both 'erp'"),
        (
            '["public.carrier.internal',
            '["public.carier.internal',
            "leave-out: unknown table of this copy 'public.carier'; did",
        ),
        (
            '["public.carrier.internal_note"]',
            '["internal_note"]',
            "leave-out: expected table.column, got 'internal_note'",
        ),
        (
            'tables = ["public.warehouse"',
            'tables = ["products"',
            "would overwrite a table that an entity owns in 'shop'",
        ),
        ("[entities.order.in.shop.children.lines]", "[entities.order.in.shop.children.linez]", "missing key 'parent'"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_way_out(tmp_path: Path, old: str, new: str, said: str):
    assert said in complaint(tmp_path, old, new)


def test_all_mistakes_come_at_once(tmp_path: Path):
    broken = EXAMPLE.replace("state-dir", "state-dri").replace("scale  =", "scle =").replace('"14d"', "14")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, broken)
    assert [line.partition(": ")[2].partition(":")[0] for line in caught.value.what.splitlines()] == [
        "daemon",
        "journal.keep",
        "entities.product.in.shop.columns.price",
    ]


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        config.convert({"dsn": "host=db", "password": "hunter2"}, Options, "cdcd.toml", "systems.erp")
    assert "hunter2" not in str(caught.value)
    assert "systems.erp.password: expected a table of credential, file, env, got a text in quotes" in str(caught.value)


def test_what_is_not_toml_says_where(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"not valid TOML") as caught:
        load(tmp_path, EXAMPLE.replace("[daemon]", "[daemon"))
    assert "line 4" in caught.value.cause


def test_a_table_begun_inline_and_extended_below_is_explained(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "[daemon]\nx = { a = 1 }\n[daemon.x.b]\nc = 2\n")
    assert "give it a [table] of its own" in caught.value.remedy


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path, content: bytes | None):
    path = tmp_path / "cdcd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        config_rules.load(path)


def test_reading_without_the_rules_takes_what_only_does_not_fit_together(tmp_path: Path):
    path = tmp_path / "cdcd.toml"
    path.write_text(EXAMPLE.replace("ref(customer)", "ref(nobody)"))
    assert config.read(path).daemon.state_dir == "/var/lib/cdcd"
    with pytest.raises(ConfigError):
        config_rules.load(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("10m", 600), ("24h", 86400), ("14d", 1209600), ("2 w", 1209600)]
)
def test_durations_have_units(text: str, seconds: float):
    assert config.parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("5B", 5), ("1KiB", 1024), ("20GiB", 20 * 2**30), ("1 TiB", 2**40)])
def test_sizes_have_units(text: str, size: int):
    assert config.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5h", "5 years"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(ValueError, match="duration"):
        config.parse_duration(text)


def test_a_secret_comes_from_a_file_only_we_can_read(tmp_path: Path):
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert Secret(file=str(path)).reveal() == "s3cret"
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="open to other users") as caught:
        Secret(file=str(path)).reveal()
    assert caught.value.remedy == f"chmod 600 {path}"


def test_a_secret_comes_from_the_environment_or_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERP_PASSWORD", "from env")
    assert Secret(env="ERP_PASSWORD").reveal() == "from env"
    (tmp_path / "erp").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secret(credential="erp").reveal() == "from systemd"
    (tmp_path / "cdcd_shop").write_text("from a directory of them")
    assert Secret(credential="shop").reveal() == "from a directory of them"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (Secret(), "one of credential, file, env"),
        (Secret(env="NOT_SET_ANYWHERE"), "export NOT_SET_ANYWHERE"),
        (Secret(credential="erp"), "put it into /etc/cdcd/credentials/erp "),
        (Secret(file="/nowhere/at/all"), "cannot be read"),
    ],
)
def test_a_secret_that_is_not_there_says_how_to_give_it(secret: Secret, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError) as caught:
        secret.reveal()
    assert said in str(caught.value)


def test_a_configuration_survives_the_way_to_the_workers():
    loaded = config_rules.load(FILES / "cdcd.example.toml")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(loaded), type=Config) == loaded
