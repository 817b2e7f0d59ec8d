"""Our character sets against the server's: every code of one and two bytes is decoded as MariaDB converts it to utf8mb4."""

import pytest

from cdcd_mysql.charsets import charset, decode_text

ONE = [bytes([first]) for first in range(256)]
TWO = [bytes([first, second]) for first in range(0x80, 256) for second in range(0x20, 256)]
THREE = [bytes([0x8F, first, second]) for first in range(0xA1, 0xFF) for second in range(0xA1, 0xFF)]
SMALL = ["latin1", "latin2", "latin5", "latin7", "greek", "hebrew", "koi8r", "koi8u", "cp850", "cp852", "cp866"]
SMALL += ["cp1250", "cp1251", "cp1256", "cp1257", "hp8", "macce", "macroman", "tis620", "ascii"]
SMALL += ["armscii8", "dec8", "geostd8", "keybcs2", "swe7"]
UNICODE = ["ucs2", "utf16", "utf16le", "utf32", "utf8mb3", "utf8mb4", "gb18030"]
CHARACTERS = [chr(code) for code in [*range(1, 0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 61)]]
WIDE = ["big5", "cp932", "sjis", "euckr", "gb2312", "gbk", "ujis", "eucjpms"]
FULLWIDTH_BACKSLASH = "\uff3c"
"""The server makes it a plain backslash in sjis, ujis; we keep it, as the other direction does."""
LOSSY_BIG5 = {b"\xa1\x5a", b"\xa1\xc3", b"\xa1\xc5", b"\xa1\xfe", b"\xa2\x40", b"\xa2\xcc", b"\xa2\xce"}
"""The server makes them U+FFFD."""


@pytest.fixture(scope="module")
def convert(mariadb):
    connection = mariadb.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE charsets; USE charsets; CREATE TABLE codes (code varbinary(4))")
        while cursor.nextset():
            pass
        codes = [*ONE, *TWO, *THREE]
        for start in range(0, len(codes), 5000):
            values = ",".join(f"(x'{code.hex()}')" for code in codes[start : start + 5000])
            cursor.execute(f"INSERT INTO codes VALUES {values}")

        def server_characters(name, size_max):
            cursor.execute(
                f"SELECT code, CONVERT(CONVERT(code USING {name}) USING utf8mb4) FROM codes WHERE length(code) <= {size_max}"
            )
            return {code: text for code, text in cursor.fetchall() if text is not None and len(text) == 1}

        server_characters.cursor = cursor
        yield server_characters


def is_private(text):
    return "\ue000" <= text <= "\uf8ff" or text == "\ufffd"


@pytest.mark.parametrize("name", SMALL)
def test_characters_of_one_byte_are_the_servers(convert, name):
    decode = charset(name).decode
    for code, text in convert(name, 1).items():
        ours = decode_text(code, decode)
        assert ours == text or (text == "?" and code != b"?") or (text == "\ufffd" and isinstance(ours, bytes)), code


@pytest.mark.parametrize("name", WIDE)
def test_characters_of_several_bytes_are_the_servers(convert, name):
    decode = charset(name).decode
    found = convert(name, 3)
    assert len(found) > 7000
    for code, text in found.items():
        ours = decode_text(code, decode)
        if (
            text in (ours, "?")
            or (ours == FULLWIDTH_BACKSLASH and text == "\\")
            or (name == "big5" and code in LOSSY_BIG5)
        ):
            continue
        assert isinstance(ours, bytes), (code, ours, text)
        assert is_private(text), (code, text)


@pytest.fixture(scope="module")
def cursor(convert):
    cursor = convert.cursor
    cursor.execute("CREATE TABLE characters (c varchar(1) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)")
    for start in range(0, len(CHARACTERS), 5000):
        rows = ",".join(f"(x'{c.encode().hex()}')" for c in CHARACTERS[start : start + 5000])
        cursor.execute(f"INSERT INTO characters VALUES {rows}")
    return cursor


@pytest.mark.parametrize("name", UNICODE)
def test_every_character_of_unicode_is_read_back(cursor, name):
    cursor.execute(f"SELECT count(*) FROM information_schema.character_sets WHERE character_set_name = '{name}'")
    if cursor.fetchone() == (0,):
        pytest.skip(f"this server has no {name}")
    cursor.execute(f"SELECT c, CAST(CONVERT(c USING {name}) AS binary) FROM characters")
    decode = charset(name).decode
    found = [(text, raw) for text, raw in cursor.fetchall() if raw != b"?" and raw.strip(b"\0") != b"?"]
    wrong = [(text, raw) for text, raw in found if decode_text(raw, decode) != text]
    assert len(found) > 60_000
    assert not [entry for entry in wrong if not is_private(entry[0])][:10]


def test_every_character_set_of_the_server_is_known(cursor):
    cursor.execute("SELECT character_set_name, maxlen FROM information_schema.character_sets")
    for name, size in cursor.fetchall():
        if name != "binary":
            assert (charset(name).decode is not None, charset(name).bytes_per_char) == (True, size), name


def test_texts_of_several_characters_are_decoded_as_a_whole():
    raw = b"ABC " + bytes.fromhex("8eb1 8eb2 ada1 c9bd c6fc 8ff4fb 8fb0a1 f5a1")
    assert charset("eucjpms").decode(raw) == "ABC ｱｲ①表日髙丂\ue000"
    assert charset("big5").decode("漢字".encode("big5") + b"\xf9\xd6A") == "漢字碁A"
    for wrong in (b"\xa1", b"\x8f\xa1", b"\xa1 ", b"\xff\xff"):
        assert decode_text(wrong, charset("eucjpms").decode) == wrong
