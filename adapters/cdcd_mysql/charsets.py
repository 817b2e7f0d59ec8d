"""How the servers' character sets are decoded: exactly as the server itself converts them to utf8mb4.

The table was compared with MariaDB 10.11 and MySQL 9.7 over every one- and two-byte code (tests/integration/
test_mysql_charsets.py repeats it). Where Python's codec of the same name differs, the difference is below. What a
character set cannot decode stays `bytes`: a value that no text type holds, so that the core refuses that field only.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import msgspec

Decoder: TypeAlias = Callable[[bytes], str]


class Charset(msgspec.Struct, frozen=True):
    """A character set. `decode` raises UnicodeDecodeError; None means that we cannot decode it at all.

    `bytes_per_char` is what the server multiplies a column's length with to get its size in bytes.
    """

    name: str
    bytes_per_char: int
    decode: Decoder | None

    @property
    def is_utf8(self) -> bool:
        """Whether bytes are UTF-8, which `bytes.decode()` reads fastest."""
        return self.name in ("utf8mb4", "utf8mb3", "utf8")


def _codec(name: str) -> Decoder:
    return partial(str, encoding=name)


def _charmap(codec: str, patches: Mapping[int, str]) -> Decoder:
    """An 8-bit character set: Python's `codec` with `patches`; codes that neither defines are undecodable."""
    table = "".join(
        patches.get(code) or bytes([code]).decode(codec, "replace").replace("\ufffd", "\ufffe") for code in range(256)
    )

    def decode(raw: bytes) -> str:
        return codecs.charmap_decode(raw, "strict", table)[0]  # U+FFFE in the table means undefined

    return decode


_BIG5_ETEN: Final = dict(zip((bytes([0xF9, low]) for low in range(0xD6, 0xDD)), "碁銹裏墻恒粧嫺", strict=True))
"""Seven characters that the servers have and Python's big5 has not."""


def _decode_big5(raw: bytes) -> str:
    try:
        return raw.decode("big5")
    except UnicodeDecodeError:
        return _decode_pairs(raw, _big5_pair)


def _big5_pair(pair: bytes) -> str:
    return _BIG5_ETEN.get(pair) or pair.decode("big5")


def _decode_pairs(raw: bytes, decode_pair: Decoder) -> str:
    parts: list[str] = []
    place = 0
    while place < len(raw):
        if raw[place] < 0x80:
            parts.append(chr(raw[place]))
            place += 1
        else:
            parts.append(decode_pair(raw[place : place + 2]))
            place += 2
    return "".join(parts)


_GB18030_2005: Final = {0x1E3F: "\ue7c7", 0xE7C7: "\u1e3f"}
"""The edition of 2005 gave one code a character, and the private character it had the other's code; Python's is of 2000."""


def _decode_gb18030(raw: bytes) -> str:
    return raw.decode("gb18030").translate(_GB18030_2005)


def _decode_eucjpms(raw: bytes) -> str:
    """EUC-JP with Microsoft's mapping (eucJP-ms), which Python lacks: two-byte codes go through cp932's table."""
    parts: list[str] = []
    place = 0
    while place < len(raw):
        lead = raw[place]
        if lead < 0x80:
            parts.append(chr(lead))
            place += 1
        elif lead == 0x8F:
            parts.append(_eucjpms_triple(raw[place : place + 3]))
            place += 3
        else:
            parts.append(_eucjpms_pair(raw[place : place + 2]))
            place += 2
    return "".join(parts)


def _eucjpms_pair(pair: bytes) -> str:
    """0x8E introduces half-width kana; otherwise JIS row and cell, packed as Shift JIS does (JIS X 0208, annex 1)."""
    if pair[0] == 0x8E:
        return pair[1:].decode("cp932")
    row, cell = _row_and_cell(pair)
    if row >= _PRIVATE_ROW:
        return chr(0xE000 + (row - _PRIVATE_ROW) * 94 + cell - 1)
    lead = (row + 1) // 2 + (0x80 if row <= 62 else 0xC0)
    trail = cell + 0x9E if row % 2 == 0 else cell + 0x3F + (cell >= 64)
    return bytes([lead, trail]).decode("cp932")


def _eucjpms_triple(triple: bytes) -> str:
    """0x8F, then row and cell of JIS X 0212, IBM's extension from row 83, cell 83 on, or a private character."""
    row, cell = _row_and_cell(triple[1:])
    if row >= _PRIVATE_ROW:
        return chr(0xE3AC + (row - _PRIVATE_ROW) * 94 + cell - 1)
    extension = (row - 83) * 94 + cell - 83
    if extension >= 0:
        return _IBM_EXTENSION[extension]
    return _EUCJPMS_PATCHES.get(triple) or triple.decode("euc_jp")


def _row_and_cell(pair: bytes) -> tuple[int, int]:
    if len(pair) < 2 or not (0xA1 <= pair[0] <= 0xFE and 0xA1 <= pair[1] <= 0xFE):
        raise UnicodeDecodeError("eucjpms", pair, 0, len(pair), "no such row and cell")
    return pair[0] - 0xA0, pair[1] - 0xA0


_PRIVATE_ROW: Final = 85
_EUCJPMS_PATCHES: Final = {b"\x8f\xa2\xb7": "\uff5e", b"\x8f\xa2\xc3": "\uffe4"}
_IBM_EXTENSION: Final = (
    "ⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ\uff07\uff02㈱№℡炻仼僴凬匇匤\ufa0e咊坙\ufa0f\ufa10增寬峵嵓\ufa11德悅愠敎昻晥\ufa12\uf929栁\ufa13"
    "\ufa14橫櫢淸淲瀨\ufa15\ufa16甁皂皞\ufa17礰\ufa18\ufa19\ufa1a\ufa1b竧\ufa1c\ufa1d綠緖\ufa1e荢\ufa1f薰"
    "\ufa20\ufa21蠇\ufa22譿賴赶\ufa23\ufa24\ufa25郞\ufa26鄕\ufa27\ufa28閒\uf9dc\ufa29霻靍靑\ufa2a\ufa2b"
    "\ufa2c馞髙魲\ufa2d黑"
)
_CONTROLS: Final = "".join(map(chr, range(0x80, 0xA0)))
_HIGH: Final = {  # what the servers have for codes from 0x80 on; Python knows none of these
    "armscii8": _CONTROLS
    + (
        "\xa0❁§\u0589\x29\x28»«—\x2e\u055d\x2c\x2d՟…՜՛՞ԱաԲբԳգԴդԵեԶզԷէ"
        "ԸըԹթԺժԻիԼլԽխԾծԿկՀհՁձՂղՃճՄմՅյՆնՇշ"
        "ՈոՉչՊպՋջՌռՍսՎվՏտՐրՑցՒւՓփՔքՕօՖֆ\u2019\x27"
    ),
    "dec8": _CONTROLS
    + (
        "\xa0¡¢£\ufffe¥\ufffe§¤©ª«\ufffe\ufffe\ufffe\ufffe°±²³\ufffeµ¶·\ufffe¹º»¼½\ufffe¿"
        "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏ\ufffeÑÒÓÔÕÖŒØÙÚÛÜŸ\ufffeß"
        "àáâãäåæçèéêëìíîï\ufffeñòóôõöœøùúûüÿ\ufffe\ufffe"
    ),
    "geostd8": (
        "€\ufffe\u201a\ufffe„…†‡\ufffe‰\ufffe\u2039\ufffe\ufffe\ufffe\ufffe\ufffe\u2018\u2019“”•\u2013—\ufffe\ufffe\ufffe\u203a\ufffe\ufffe\ufffe\ufffe"
        "\xa0¡¢£¤¥¦§¨©ª«¬\xad®¯°±²³\xb4µ¶·\xb8¹º»¼½¾¿"
        "აბგდევზჱთიკლმნჲოპჟრსტჳუფქღყშჩცძწ"
        "ჭხჴჯჰჵ\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe\ufffe№\ufffe\ufffe"
    ),
    "keybcs2": (
        "ČüéďäĎŤčěĚĹÍľĺÄÁÉžŽôöÓůÚýÖÜŠĽÝŘť"
        "áíóúňŇŮÔšřŕŔ¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐"
        "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀"
        "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\xa0"
    ),
}
_SWE7: Final = dict(zip(b"@[\\]^`{|}~", "ÉÄÖÅÜéäöåü", strict=True))
"""Swedish letters in the place of ASCII's signs; 0x7F and what follows are undefined."""


def _high_table(name: str) -> Decoder:
    return _charmap("ascii", dict(enumerate(_HIGH[name], 0x80)))


_CHARSETS: Final[tuple[Charset, ...]] = (
    Charset("utf8mb4", 4, _codec("utf-8")),
    Charset("utf8mb3", 3, _codec("utf-8")),
    Charset("utf8", 3, _codec("utf-8")),
    Charset("ascii", 1, _codec("ascii")),
    Charset("latin1", 1, _charmap("cp1252", {code: chr(code) for code in (0x81, 0x8D, 0x8F, 0x90, 0x9D)})),
    Charset("latin2", 1, _codec("iso8859_2")),
    Charset("latin5", 1, _codec("iso8859_9")),
    Charset("latin7", 1, _codec("iso8859_13")),
    Charset("greek", 1, _charmap("iso8859_7", {0xA1: "\u02bd", 0xA2: "\u02bc"})),
    Charset("hebrew", 1, _charmap("iso8859_8", {0xAF: "\u203e"})),
    Charset("koi8r", 1, _codec("koi8_r")),
    Charset("koi8u", 1, _charmap("koi8_u", {0x95: "\u2022"})),
    Charset("cp850", 1, _codec("cp850")),
    Charset("cp852", 1, _codec("cp852")),
    Charset("cp866", 1, _charmap("cp866", {0xFC: "\u207f", 0xFD: "\u00b2"})),
    Charset("cp1250", 1, _codec("cp1250")),
    Charset("cp1251", 1, _codec("cp1251")),
    Charset("cp1256", 1, _codec("cp1256")),
    Charset("cp1257", 1, _codec("cp1257")),
    Charset("hp8", 1, _codec("hp_roman8")),
    Charset("macce", 1, _codec("mac_latin2")),
    Charset("macroman", 1, _codec("mac_roman")),
    Charset("tis620", 1, _codec("tis_620")),
    Charset("armscii8", 1, _high_table("armscii8")),
    Charset("dec8", 1, _high_table("dec8")),
    Charset("geostd8", 1, _high_table("geostd8")),
    Charset("keybcs2", 1, _high_table("keybcs2")),
    Charset("swe7", 1, _charmap("ascii", {**_SWE7, 0x7F: "\ufffe"})),
    Charset("big5", 2, _decode_big5),
    Charset("cp932", 2, _codec("cp932")),
    Charset("sjis", 2, _codec("shift_jis")),
    Charset("euckr", 2, _codec("cp949")),
    Charset("gb2312", 2, _codec("gb2312")),
    Charset("gbk", 2, _codec("gbk")),
    Charset("gb18030", 4, _decode_gb18030),
    Charset("ujis", 3, _codec("euc_jp")),
    Charset("eucjpms", 3, _decode_eucjpms),
    Charset("ucs2", 2, _codec("utf-16-be")),
    Charset("utf16", 4, _codec("utf-16-be")),
    Charset("utf16le", 4, _codec("utf-16-le")),
    Charset("utf32", 4, _codec("utf-32-be")),
)
_BY_NAME: Final = {charset.name: charset for charset in _CHARSETS}


def charset(name: str) -> Charset:
    """The character set of that name; one that we do not know decodes nothing."""
    return _BY_NAME.get(name) or Charset(name, 1, None)


def decode_text(raw: bytes, decoder: Decoder | None) -> str | bytes:
    """The text, or the bytes themselves where they are none."""
    try:
        return raw if decoder is None else decoder(raw)
    except UnicodeDecodeError:
        return raw
