"""What a column becomes in another database: the type there that holds the most of a canonical type's values.

This is what the documentation recommends, and what the property tests write into. A column of another type does as well
where `cdcd.conversions` knows a way; what one value then does not fit is refused.
"""

from cdcd.values import ValueType, parse_type

MYSQL_INTEGERS = (("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64))
POSTGRES_INTEGERS = (("smallint", 16), ("integer", 32), ("bigint", 64))
DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX = 65, 30
VARCHAR_CHARACTERS_MAX = 16_000
FRACTION_DIGITS_MAX = 6


def counterpart(canonical: str, server: str) -> str:
    """The column type for a canonical type in "postgres", "mariadb" or "mysql"."""
    kind = parse_type(canonical)
    return postgres_type(kind) if server == "postgres" else mysql_type(kind, is_mariadb=server == "mariadb")


def postgres_type(kind: ValueType) -> str:
    n = kind.number(0)
    digits = FRACTION_DIGITS_MAX if n is None else n
    match kind.kind:
        case "integer":
            return signed_integer(kind, POSTGRES_INTEGERS) or "numeric(20,0)"
        case "decimal":
            return f"numeric({','.join(kind.arguments)})" if kind.arguments else "numeric"
        case "float":
            return "real" if n == 24 else "double precision"
        case "text" if kind.has("padded") and n:
            return f"char({n})"
        case "text":
            return f"varchar({n})" if n and n <= VARCHAR_CHARACTERS_MAX else "text"
        case "instant":
            return f"timestamptz({digits})"
        case "datetime":
            return f"timestamp({digits})"
        case "time":
            return f"time({digits})"
        case "native":
            return "text"
    return {"boolean": "boolean", "bytes": "bytea", "date": "date", "enum": "text", "json": "jsonb", "uuid": "uuid"}[
        kind.kind
    ]


def mysql_type(kind: ValueType, *, is_mariadb: bool) -> str:  # noqa: C901 (a table)
    n = kind.number(0)
    digits = FRACTION_DIGITS_MAX if n is None else n
    match kind.kind:
        case "integer":
            return unsigned_integer(kind) or signed_integer(kind, MYSQL_INTEGERS) or "decimal(20,0)"
        case "decimal":
            return f"decimal{decimal_arguments(kind)}"
        case "float":
            return "float" if n == 24 else "double"
        case "text" if n is None or n > VARCHAR_CHARACTERS_MAX:
            return "longtext"
        case "text":
            return f"{'char' if kind.has('padded') and n <= 255 else 'varchar'}({n})"
        case "bytes":
            return "longblob" if n is None or n > VARCHAR_CHARACTERS_MAX else f"varbinary({n})"
        case "instant":
            return f"timestamp({digits}) null"
        case "datetime" | "time":
            return f"{kind.kind}({digits})"
        case "uuid":
            return "uuid" if is_mariadb else "char(36)"
        case "native" | "enum":
            return "longtext"
    return {"boolean": "tinyint(1)", "date": "date", "json": "json"}[kind.kind]


def signed_integer(kind: ValueType, sizes: tuple[tuple[str, int], ...]) -> str:
    low, high = kind.number(0), kind.number(1)
    if low is None or high is None:
        return ""
    return next((name for name, bits in sizes if -(1 << bits - 1) <= low and high < 1 << bits - 1), "")


def unsigned_integer(kind: ValueType) -> str:
    low, high = kind.number(0), kind.number(1)
    if low != 0 or high is None:
        return ""
    return next((f"{name} unsigned" for name, bits in MYSQL_INTEGERS if high < 1 << bits), "")


def decimal_arguments(kind: ValueType) -> str:
    precision, scale = kind.number(0), kind.number(1)
    if precision is None or scale is None:
        return f"({DECIMAL_DIGITS_MAX},{DECIMAL_SCALE_MAX})"
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return f"({min(precision, DECIMAL_DIGITS_MAX)},{min(scale, DECIMAL_SCALE_MAX)})"
