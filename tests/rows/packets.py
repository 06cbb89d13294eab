"""What the servers would send: MySQL's packets of a result set, PostgreSQL's messages of a COPY."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from contract.types import Codec
from rows.native import COPY_HEADER, COPY_TRAILER, Column, Comparator, Plan, Suspect, Transcoder

Fields = Sequence[bytes | None]
FULL = 0xFFFFFF
EOF = b"\xfe\0\0\2\0"


def plan(*codecs: Codec | str, key: Sequence[int] = (0,)) -> Plan:
    columns = (codec if isinstance(codec, Codec) else Codec(codec) for codec in codecs)
    return Plan(tuple(map(Column, columns)), tuple(key))


def length(size: int) -> bytes:
    if size < 251:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + struct.pack("<H", size)
    if size < 1 << 24:
        return b"\xfd" + struct.pack("<I", size)[:3]
    return b"\xfe" + struct.pack("<Q", size)


def mysql_row(fields: Fields) -> bytes:
    return b"".join(b"\xfb" if field is None else length(len(field)) + field for field in fields)


def packets(payloads: Iterable[bytes]) -> bytes:
    out, sequence = bytearray(), 1
    for payload in payloads:
        for at in range(0, len(payload) + 1, FULL):
            part = payload[at : at + FULL]
            out += struct.pack("<I", len(part))[:3] + bytes([sequence % 256]) + part
            sequence += 1
    return bytes(out)


def result_set(columns: int, rows: Iterable[Fields]) -> bytes:
    return packets([length(columns), *[b"\3def\0\0\0"] * columns, EOF, *map(mysql_row, rows), EOF])


def postgres_row(fields: Fields) -> bytes:
    values = (b"\xff" * 4 if field is None else struct.pack(">i", len(field)) + field for field in fields)
    return struct.pack(">h", len(fields)) + b"".join(values)


def message(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(payload) + 4) + payload


def copy_answer(columns: int, rows: Sequence[Fields], size: int = 0) -> bytes:
    """The answer to a COPY; its data in a message for each row, as PostgreSQL does, or in messages of `size` bytes."""
    parts = [COPY_HEADER, *map(postgres_row, rows), COPY_TRAILER]
    data = b"".join(parts)
    if size:
        parts = [data[at : at + size] for at in range(0, len(data), size)]
    opening = message(b"H", struct.pack(f">bh{columns}h", 1, columns, *[1] * columns))
    closing = message(b"c") + message(b"C", f"COPY {len(rows)}\0".encode()) + message(b"Z", b"I")
    return opening + b"".join(message(b"d", part) for part in parts) + closing


def cut(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces: cut at these places, as far as it has them."""
    before = 0
    for place in sorted({place % (len(data) + 1) for place in places}):
        yield data[before:place]
        before = place
    yield data[before:]


def transcoded(transcoder: Transcoder, pieces: Iterable[bytes]) -> bytes:
    """What comes out for a result set."""
    out = []
    for piece in pieces:
        transcoder.feed(piece)
        while portion := transcoder.take():
            out.append(portion)
    assert transcoder.ended
    return b"".join(out)


def compared(comparator: Comparator, source: Iterable[bytes], target: Iterable[bytes]) -> list[Suspect]:
    """Feeds both sides as they are wanted."""
    pieces = {"source": iter(source), "target": iter(target)}
    while side := comparator.wants():
        feed = comparator.feed_source if side == "source" else comparator.feed_target
        feed(next(pieces[side]))
    comparator.finish()
    assert not any(b"".join(rest) for rest in pieces.values())
    return comparator.suspects()
