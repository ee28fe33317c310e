"""Whatever bytes come, reading gives what was written or one of our errors; whatever may be written reads the same."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from penstock.errors import DamagedFrame, RemoteViolation
from penstock.model.position import Range
from penstock.protocol.codec import MESSAGE_TYPES, ControlMessage, decode, decode_message, encode, encode_message
from penstock.protocol.frames import Body, Close, Frame
from penstock.protocol.limits import NUMBERS, WHOLE_MAX
from penstock.protocol.messages import MessageHeader

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WHOLES = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**32, 2**53 + 1, WHOLE_MAX]))
REALS = st.floats(0, allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis puts the zone in
PARAMETERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), WHOLE_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ANYTHING = st.recursive(
    PARAMETERS | st.binary(max_size=12) | st.integers(-(2**63), 2**64 - 1) | st.floats() | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(-5, 5), inner, max_size=3),
    max_leaves=8,
)
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def values(kind: inspect.Type, bounds: tuple[int, int] | None = None) -> st.SearchStrategy[Any]:
    """Draw what may stand in a field, by its declared type."""
    match kind:
        case inspect.StructType():
            drawn = structs(kind)
        case inspect.UnionType(types=kinds):
            drawn = st.one_of([values(each, bounds) for each in kinds])
        case inspect.VarTupleType(item_type=item):
            drawn = st.lists(values(item), max_size=3).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            drawn = st.dictionaries(values(key), values(value), max_size=3)
        case inspect.EnumType(cls=cls):
            drawn = st.sampled_from(list(cls))
        case inspect.IntType():
            drawn = st.integers(*bounds) if bounds else WHOLES
        case _:
            drawn = PLAIN[type(kind)]
    return drawn


PLAIN: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.AnyType: PARAMETERS,
    inspect.BoolType: st.booleans(),
    inspect.BytesType: st.binary(max_size=40),
    inspect.DateTimeType: TIMES,
    inspect.FloatType: REALS,
    inspect.MemoryViewType: st.binary(max_size=100).map(memoryview),
    inspect.NoneType: st.none(),
    inspect.StrType: TEXTS,
}


def structs(kind: inspect.StructType) -> st.SearchStrategy[Any]:
    if kind.cls is Range:
        return st.lists(WHOLES, min_size=2, max_size=2).map(lambda ends: Range(*sorted(ends)))
    fields = {field.name: values(field.type, NUMBERS.get((kind.cls, field.name))) for field in kind.fields}
    if kind.cls is MessageHeader or "protocol_version" in fields:
        fields["protocol_version"] = st.sampled_from(["1.1.0", "1.0.0", "1.2.0"])
    drawn = st.builds(kind.cls, **fields)
    return drawn.map(with_its_type) if kind.cls in MESSAGE_TYPES else drawn


def with_its_type(message: Any) -> Any:  # noqa: ANN401 - whatever message
    message_type = MESSAGE_TYPES[type(message)]
    return msgspec.structs.replace(message, header=msgspec.structs.replace(message.header, message_type=message_type))


def frames(body: type = object) -> st.SearchStrategy[Frame]:
    bodies = get_args(Body) if body is object else (body,)
    drawn = st.one_of([values(inspect.type_info(each)) for each in bodies])
    return st.builds(Frame, sender=WHOLES, receiver=WHOLES, settled_below=WHOLES, body=drawn)


def sealed(front: bytes) -> bytes:
    """Return something with a seal that fits."""
    return front + hashlib.sha256(front).digest()[:16]


def with_head(head: bytes, kind: int, content: bytes = b"") -> bytes:
    lengths = len(head).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    front = b"PNST" + bytes([1, kind, 0, 0]) + lengths + head
    return sealed(front + bytes(-len(front) % 8) + content)


@pytest.mark.parametrize("body", get_args(Body), ids=lambda body: body.__name__)
@QUICK
@given(data=st.data())
def test_every_frame_reads_as_it_was_written(body: type, data: st.DataObject) -> None:
    frame = data.draw(frames(body))
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize("message_type", get_args(ControlMessage), ids=lambda message_type: message_type.__name__)
@QUICK
@given(data=st.data())
def test_every_message_by_itself_reads_as_it_was_written(message_type: type, data: st.DataObject) -> None:
    message = data.draw(values(inspect.type_info(message_type)))
    assert decode_message(encode_message(message)) == message


def read_or_refused(data: bytes) -> None:
    """Read bytes. What is accepted can be written, and reads the same."""
    try:
        frame = decode(data)
    except (DamagedFrame, RemoteViolation):
        pass
    else:
        assert decode(encode(frame)) == frame
    try:
        message = decode_message(data)
    except (DamagedFrame, RemoteViolation):
        pass
    else:
        assert decode_message(encode_message(message)) == message


@settings(QUICK, max_examples=100)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: b"PNST" + rest))
def test_bytes_without_a_seal_are_no_frame(data: bytes) -> None:
    for read in (decode, decode_message):
        with pytest.raises(DamagedFrame):
            read(data)


@settings(QUICK, max_examples=100)
@given(st.binary(max_size=100), st.binary(max_size=100), st.integers(0, 3))
def test_whatever_is_sealed_is_read_or_refused(front: bytes, head: bytes, kind: int) -> None:
    read_or_refused(sealed(front))
    read_or_refused(sealed(b"PNST" + front))
    read_or_refused(with_head(head, kind))
    read_or_refused(with_head(head, kind, front))


@settings(QUICK, max_examples=100)
@given(ANYTHING, st.integers(1, 2))
def test_whatever_value_is_a_head_is_read_or_refused(head: object, kind: int) -> None:
    read_or_refused(with_head(msgspec.msgpack.encode(head), kind))


@settings(QUICK, max_examples=100)
@given(frames(), st.data())
def test_a_frame_damaged_anywhere_is_dropped(frame: Frame, data: st.DataObject) -> None:
    whole = encode(frame)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    damaged = whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:]
    if damaged != whole:
        with pytest.raises(DamagedFrame):
            decode(damaged)


@settings(QUICK, max_examples=100)
@given(frames(), st.data())
def test_a_head_damaged_before_it_was_sealed_is_read_or_refused(frame: Frame, data: st.DataObject) -> None:
    whole = encode(frame)
    head = whole[16 : 16 + int.from_bytes(whole[8:12], "little")]
    start = data.draw(st.integers(0, len(head)))
    end = data.draw(st.integers(start, min(len(head), start + 4)))
    read_or_refused(with_head(head[:start] + data.draw(st.binary(max_size=4)) + head[end:], 1))


@settings(QUICK, max_examples=100)
@given(frames(), st.data())
def test_a_message_with_anything_in_any_field_is_read_or_refused(frame: Frame, data: st.DataObject) -> None:
    head = msgspec.msgpack.decode(encode(frame)[16:][: int.from_bytes(encode(frame)[8:12], "little")])
    place = head
    while True:
        keys = sorted(place, key=str) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(ANYTHING)
    read_or_refused(with_head(msgspec.msgpack.encode(head), 1))


def test_a_count_that_claims_more_than_there_is_takes_no_memory() -> None:
    """Four billion items in a few bytes: refused at once, whatever they were to be."""
    for claim in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        for field in (b"\xa4body", b"\xa6sender", b"\xa3hue"):
            with pytest.raises(RemoteViolation):
                decode(with_head(b"\x81" + field + claim, 1))
    assert decode(encode(Frame(1, 0, 0, Close(0)))) == Frame(1, 0, 0, Close(0))
