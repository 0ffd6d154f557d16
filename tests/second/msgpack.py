"""MessagePack as docs/protocol.md uses it: a reader that refuses any other spelling, and the writer it checks with."""

import struct

DEPTH_MAX = 16


class Refused(Exception):
    """Bytes that the protocol does not allow."""


def write(value):
    """The shortest encoding of nil, bool, int, str, bytes, list and dict."""
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _write_int(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        if len(raw) < 32:
            return bytes([0xA0 | len(raw)]) + raw
        return _head(len(raw), b"\xd9", b"\xda", b"\xdb") + raw
    if isinstance(value, bytes):
        return _head(len(value), b"\xc4", b"\xc5", b"\xc6") + value
    if isinstance(value, list):
        head = bytes([0x90 | len(value)]) if len(value) < 16 else _head(len(value), None, b"\xdc", b"\xdd")
        return head + b"".join(write(item) for item in value)
    if isinstance(value, dict):
        head = bytes([0x80 | len(value)]) if len(value) < 16 else _head(len(value), None, b"\xde", b"\xdf")
        return head + b"".join(write(key) + write(item) for key, item in value.items())
    raise TypeError(type(value))


def _head(size, one, two, four):
    if one is not None and size < 1 << 8:
        return one + struct.pack(">B", size)
    if size < 1 << 16:
        return two + struct.pack(">H", size)
    return four + struct.pack(">I", size)


def _write_int(value):
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack(">b", value)
    unsigned = ((1 << 8, b"\xcc", ">B"), (1 << 16, b"\xcd", ">H"), (1 << 32, b"\xce", ">I"), (1 << 64, b"\xcf", ">Q"))
    signed = ((1 << 7, b"\xd0", ">b"), (1 << 15, b"\xd1", ">h"), (1 << 31, b"\xd2", ">i"), (1 << 63, b"\xd3", ">q"))
    for limit, tag, width in unsigned if value >= 0 else signed:
        if -limit <= value < limit:
            return tag + struct.pack(width, value)
    raise OverflowError(value)


def read(raw, *, canonical=True):
    """The one value in these bytes."""
    try:
        value, end = _read(raw, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise Refused(f"cut short or not text: {error}") from None
    if end != len(raw):
        raise Refused("bytes behind the value")
    if canonical and write(value) != raw:
        raise Refused("not the canonical encoding")
    return value


_FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
_BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_TEXT = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_LISTS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}


def _read(raw, at, depth):
    if depth > DEPTH_MAX:
        raise Refused("nested too deeply")
    tag = raw[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag in _FIXED:
        return _FIXED[tag], at
    if tag in _NUMBERS:
        width = struct.calcsize(_NUMBERS[tag])
        return struct.unpack_from(_NUMBERS[tag], raw, at)[0], at + width
    if tag < 0x90:
        return _read_map(raw, at, tag & 0x0F, depth)
    if tag < 0xA0:
        return _read_list(raw, at, tag & 0x0F, depth)
    if tag < 0xC0:
        return _slice(raw, at, tag & 0x1F).decode(), at + (tag & 0x1F)
    for table in (_BYTES, _TEXT, _LISTS, _MAPS):
        if tag in table:
            size = struct.unpack_from(table[tag], raw, at)[0]
            at += struct.calcsize(table[tag])
            if table is _LISTS:
                return _read_list(raw, at, size, depth)
            if table is _MAPS:
                return _read_map(raw, at, size, depth)
            part = _slice(raw, at, size)
            return (part.decode() if table is _TEXT else part), at + size
    raise Refused(f"a type that has no place here: {tag:#x}")


def _slice(raw, at, size):
    if at + size > len(raw):
        raise Refused("a length beyond the end")
    return raw[at : at + size]


def _read_list(raw, at, size, depth):
    items = []
    for _ in range(size):
        item, at = _read(raw, at, depth + 1)
        items.append(item)
    return items, at


def _read_map(raw, at, size, depth):
    found = {}
    for _ in range(size):
        key, at = _read(raw, at, depth + 1)
        if isinstance(key, (list, dict)):
            raise Refused("a key that is no plain value")
        found[key], at = _read(raw, at, depth + 1)
    return found, at
