"""Whatever happens to a batch on its way, it is refused or decodes to the very same value."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_wire.batch import MAX_BODY_BYTES, Readings, Scores, decode
from foreshock_wire.errors import BatchError
from tests.wire.samples import READINGS, SCORES, same
from tests.wire.test_batches import batches

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = READINGS.to_bytes()
BODY = zlib.decompress(WHOLE[13:])
HEADER_BYTES = struct.unpack_from("<I", BODY)[0]
HEADER: dict[str, Any] = json.loads(BODY[4 : 4 + HEADER_BYTES])
COLUMNS = BODY[4 + HEADER_BYTES :]


def sealed(body: bytes, *, kind: int = 1, length: int | None = None, packed: bytes = b"") -> bytes:
    """Wrap a body in an envelope whose CRC is right: what a buggy or hostile gateway can send."""
    rest = struct.pack("<BI", kind, len(body) if length is None else length)
    rest += packed or zlib.compress(body)
    return b"FSB1" + struct.pack("<I", zlib.crc32(rest)) + rest


def with_header(header: object, columns: bytes = COLUMNS) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return sealed(struct.pack("<I", len(text)) + text + columns)


def refused(payload: bytes, named: str = ".") -> None:
    with pytest.raises(BatchError, match=named):
        decode(payload, Readings)


def test_the_wrapping_of_this_file_is_the_real_one() -> None:
    assert same(decode(with_header(HEADER), Readings), READINGS)


def test_every_flipped_bit_is_noticed() -> None:
    for at in range(len(WHOLE)):
        for bit in range(8):
            damaged = bytearray(WHOLE)
            damaged[at] ^= 1 << bit
            refused(bytes(damaged))


@given(batch=batches(max_size=20), data=st.data())
def test_every_changed_byte_is_noticed(batch: Readings | Scores, data: st.DataObject) -> None:
    payload = bytearray(batch.to_bytes())
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255).filter(lambda value: value != payload[at]))
    with pytest.raises(BatchError):
        decode(bytes(payload), type(batch))


def test_every_truncation_and_every_tail_is_noticed() -> None:
    for size in range(len(WHOLE)):
        refused(WHOLE[:size])
    refused(WHOLE + b"\0")
    refused(WHOLE + WHOLE)


def test_a_batch_of_another_kind_is_refused() -> None:
    refused(SCORES.to_bytes(), "kind 2, expected Readings")


@given(payload=st.binary(max_size=300))
def test_any_bytes_are_refused(payload: bytes) -> None:
    refused(payload)
    refused(b"FSB1" + payload)


@given(body=st.binary(max_size=300), kind=st.sampled_from([Readings, Scores]))
def test_any_sealed_body_is_refused(body: bytes, kind: type[Readings | Scores]) -> None:
    with pytest.raises(BatchError):
        decode(sealed(body, kind=kind.kind), kind)


@given(data=st.data())
def test_any_header_field_with_any_value_decodes_or_is_a_batch_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(HEADER)))
    value = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.text(max_size=3) | st.integers(), max_size=4)
        | st.dictionaries(st.text(max_size=3), st.none(), max_size=2)
    )
    try:
        batch = decode(with_header(HEADER | {name: value}), Readings)
    except BatchError:
        return
    assert same(decode(batch.to_bytes(), Readings), batch)


@pytest.mark.parametrize("name", sorted(HEADER))
def test_a_missing_header_field_is_refused(name: str) -> None:
    refused(with_header({key: value for key, value in HEADER.items() if key != name}))


@pytest.mark.parametrize("count", [-1, 0, 4, 6, 10**9, 2**63, 10**400, 5.0, True, "5", None])
def test_a_wrong_count_is_refused(count: object) -> None:
    refused(with_header(HEADER | {"count": count}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"count": ' + b"9" * 5000 + b"}",
        b'{"count": NaN}',
        b'{"count": Infinity}',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_header_that_is_no_header_is_refused(text: bytes) -> None:
    refused(with_header(text))


def test_a_header_longer_than_the_body_is_refused() -> None:
    refused(sealed(struct.pack("<I", 2**32 - 1) + BODY[4:]))
    refused(sealed(b"\1\0"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"machines": ["m1"]}, "outside its 1 machines"),
        ({"channels": []}, "outside its 0 channels"),
        ({"machines": {"m1": 0, "m2": 1}}, "list of names"),
        ({"machines": ["m1", 5]}, "list of names"),
        ({"machines": ["m1", "../../etc"]}, "not valid"),
        ({"first_seq": 0}, "first_seq"),
        ({"first_seq": "1"}, "first_seq"),
        ({"first_seq": 2**63 - 3}, "first_seq"),
        ({"epoch": ["a"]}, "epoch"),
        ({"epoch": "../x"}, "epoch"),
    ],
)
def test_contradicting_fields_are_named(fields: dict[str, Any], named: str) -> None:
    refused(with_header(HEADER | fields), named)


def test_a_header_field_of_a_newer_writer_is_ignored() -> None:
    newer = with_header(HEADER | {"compressed_by": "zlib-ng", "value": "not the column"})
    assert same(decode(newer, Readings), READINGS)


@pytest.mark.parametrize(
    "seal",
    [
        lambda: sealed(BODY, length=len(BODY) - 1),
        lambda: sealed(BODY, length=len(BODY) + 1),
        lambda: sealed(BODY, length=0),
        lambda: sealed(BODY, packed=zlib.compress(BODY) + b"more"),
        lambda: sealed(BODY, packed=zlib.compress(BODY)[:-4]),
        lambda: sealed(BODY, packed=b"not zlib"),
        lambda: sealed(COLUMNS),
    ],
)
def test_a_body_of_another_size_is_refused(seal: Callable[[], bytes]) -> None:
    refused(seal())


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(b"\0" * (MAX_BODY_BYTES + 1), 9)
    refused(sealed(b"", length=2**32 - 1, packed=bomb), "at most")
    refused(sealed(b"", length=10, packed=bomb), "another size than 10")
