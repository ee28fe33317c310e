"""Frames as bytes: the format byte by byte, every fault by its code, limits at both ends, versions both ways."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pyarrow as pa
import pytest

from penstock.errors import DamagedFrame, PenstockError, Recoverability, RemoteViolation, Scope, Severity, Unsendable
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.model.settings import SETTINGS
from penstock.protocol import limits
from penstock.protocol.breaker import CircuitState
from penstock.protocol.cache_messages import (
    CacheAccessRequest,
    CacheAccessResponse,
    CacheOperation,
    CacheStatus,
    CacheTier,
    CacheWarmUpRequest,
    WarmUpPriority,
)
from penstock.protocol.codec import MESSAGE_TYPES, ControlMessage, decode, decode_message, encode, encode_message
from penstock.protocol.frames import Body, Close, Frame, Heartbeat, Hello
from penstock.protocol.health_messages import (
    CheckType,
    ComponentHealth,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthStatus,
)
from penstock.protocol.job_messages import (
    DependencySignal,
    DependencySignalType,
    JobControlRequest,
    JobOperation,
    JobStatus,
    JobStatusUpdate,
    ScheduleNotification,
)
from penstock.protocol.limits import (
    CONTENT_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEAD_BYTES_MAX,
    NUMBERS,
    PARAMETER_DEPTH_MAX,
    RECORDS_MAX,
    SIZES,
)
from penstock.protocol.messages import (
    Acknowledgment,
    AcknowledgmentPayload,
    AckStatus,
    ActionRequired,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BatchErrorSummary,
    BatchMetadata,
    BetaGammaBatchTransfer,
    CircuitStateChange,
    DeliveryConfirmation,
    DeliveryStatus,
    ErrorContext,
    ErrorNotification,
    Excepted,
    IntegrationError,
    MessageHeader,
    MessageType,
    Module,
    QualitySummary,
    RecordDeliveryResult,
    SignalType,
    StreamedRange,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
    Transfer,
    TransformationSummary,
    ValidationSummary,
    Variant,
)
from penstock.protocol.versions import OURS, SPECIFIED, Version, agree, knows, read_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 1, 1, 12, 0, 0, 250_001, tzinfo=UTC)
CONTENT = memoryview(bytes(range(256)))
ME, PEER = 1_790_000_000_000 << 20, 1_790_000_000_001 << 20


def header(message_type: MessageType, source: Module = Module.ALPHA, target: Module = Module.BETA) -> MessageHeader:
    return MessageHeader("4b1d", "5f0c", source, target, message_type, NOON)


METADATA = BatchMetadata(
    "5f0c",
    3,
    2,
    "ab" * 32,
    NOON,
    "orders/ä.csv",
    Range(10, 12),
    Position("orders/ä.csv", 10, '{"byte": 7}'),
    errors=BatchErrorSummary(1, {"INT_ALPHA_001": 1}, ("orders/ä.csv/9",)),
)
TALLY = (
    Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1),
    Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 1),
)
EXCEPTED = (Excepted("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", (11,)),)
ERROR = IntegrationError(
    "77aa",
    "5f0c",
    NOON,
    Module.GAMMA,
    Severity.ERROR,
    Recoverability.PERMANENT,
    Scope.RECORD,
    "INT_GAMMA_003",
    "duplicate",
    ErrorContext("orders/ä.csv/11", "5f0c", "order_id", "a new one", "7", ("66bb",)),
    retry_eligible=False,
)
BODIES: dict[str, Body] = {
    "alpha to beta": AlphaBetaBatchTransfer(
        header(MessageType.BATCH_TRANSFER), METADATA, CONTENT, ValidationSummary(3, 2, 1, 0.75)
    ),
    "beta to gamma": BetaGammaBatchTransfer(
        header(MessageType.BATCH_TRANSFER),
        METADATA,
        CONTENT,
        TransformationSummary(2, 5, 0.5),
        QualitySummary(0.5, 0.25, 1.0, 1),
    ),
    "streamed": StreamingHandoffMessage(
        header(MessageType.STREAMING_HANDOFF),
        METADATA,
        Variant.MICRO_BATCH,
        40,
        CONTENT,
        ValidationSummary(3, 2, 1, 0.75),
    ),
    "received": Acknowledgment(
        header(MessageType.ACKNOWLEDGMENT),
        AcknowledgmentPayload("5f0c", AckStatus.RECEIVED, 2, 0, 0, sequence_number=3),
    ),
    "processed": Acknowledgment(
        header(MessageType.ACKNOWLEDGMENT),
        AcknowledgmentPayload("5f0c", AckStatus.PROCESSED, 1, 1, 17, TALLY, EXCEPTED, 3),
    ),
    "streaming acknowledgment": StreamingAcknowledgment(
        header(MessageType.STREAMING_ACKNOWLEDGMENT), 4, 1_040, (StreamedRange(3, Range(10, 12), TALLY, EXCEPTED),)
    ),
    "signal": BackPressureSignal(header(MessageType.BACKPRESSURE), SignalType.ACTIVATE, 8, 250),
    "confirmation": DeliveryConfirmation(
        header(MessageType.DELIVERY_CONFIRMATION),
        "5f0c",
        (RecordDeliveryResult("orders/ä.csv/11", "facts", DeliveryStatus.DLQ, NOON),),
        (Range(10, 11),),
    ),
    "errors": ErrorNotification(header(MessageType.ERROR_NOTIFICATION), (ERROR,), ActionRequired.INVESTIGATE),
    "circuit": CircuitStateChange(
        header(MessageType.CIRCUIT_STATE_CHANGE), "alpha_beta", CircuitState.CLOSED, CircuitState.OPEN, (Module.ALPHA,)
    ),
    "hello": Hello({"orders/ä.csv": 10}, 1_000),
    "heartbeat": Heartbeat({"orders/ä.csv": 10}, 4, 1_040, flush=True),
    "close": Close(4),
}
CONTROLS: dict[str, ControlMessage] = {
    "health asked": HealthCheckRequest(header(MessageType.HEALTH_CHECK_REQUEST), CheckType.DETAILED),
    "health": HealthCheckResponse(
        header(MessageType.HEALTH_CHECK_RESPONSE),
        HealthStatus.DEGRADED,
        (ComponentHealth("orders", HealthStatus.DEGRADED, "waits for the destination", NOON),),
        60,
    ),
    "cache asked": CacheAccessRequest(
        header(MessageType.CACHE_ACCESS_REQUEST), CacheOperation.PUT, "7", "enrichment", b"\xffseven", 60
    ),
    "cache": CacheAccessResponse(
        header(MessageType.CACHE_ACCESS_RESPONSE), CacheStatus.HIT, b"\xffseven", CacheTier.L1, 0.25
    ),
    "warm up": CacheWarmUpRequest(
        header(MessageType.CACHE_WARM_UP_REQUEST), "enrichment", ("7*", "8*"), WarmUpPriority.HIGH
    ),
    "control": JobControlRequest(
        header(MessageType.JOB_CONTROL_REQUEST),
        JobOperation.START,
        "orders",
        {"since": None, "models": ["facts", {"sample": 0.5}], "limit": -1, "dry": True},
    ),
    "status": JobStatusUpdate(header(MessageType.JOB_STATUS_UPDATE), "orders", "e1", JobStatus.RUNNING, 12.5, 1_000),
    "dependency": DependencySignal(
        header(MessageType.DEPENDENCY_SIGNAL), DependencySignalType.DATA_READY, "orders", ("marts",)
    ),
    "schedule": ScheduleNotification(header(MessageType.SCHEDULE_NOTIFICATION), "orders", NOON, {"full": False}),
}
FRAMES = {name: Frame(ME, PEER, 3, body) for name, body in BODIES.items()}


# --- a second implementation of the format, written from its description ------------------------------------------


def sealed(  # noqa: PLR0913 - one argument for each thing that can be wrong
    head: object,
    content: bytes | memoryview = b"",
    *,
    kind: int = 1,
    format_version: int = 1,
    zero: int = 0,
    head_bytes: int | None = None,
    content_bytes: int | None = None,
) -> bytes:
    packed = head if isinstance(head, bytes) else msgspec.msgpack.encode(head)
    front = b"PNST" + bytes([format_version, kind]) + zero.to_bytes(2, "little")
    front += (len(packed) if head_bytes is None else head_bytes).to_bytes(4, "little")
    front += (len(content) if content_bytes is None else content_bytes).to_bytes(4, "little")
    front += packed
    front += bytes(-len(front) % 8)
    front += content
    return front + hashlib.sha256(front).digest()[:16]


def head_of(value: Frame | ControlMessage) -> dict[str, Any]:
    """Return what stands in the head, as maps and lists."""
    head: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    if isinstance(value, Frame) and "records" in head["body"]:
        head["body"]["records"] = b""
    return head


def content_of(value: Frame | ControlMessage) -> memoryview:
    return value.body.records if isinstance(value, Frame) and isinstance(value.body, Transfer) else memoryview(b"")


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_the_bytes_that_the_description_says(name: str) -> None:
    frame = FRAMES[name]
    assert encode(frame) == sealed(head_of(frame), content_of(frame))
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize("name", CONTROLS)
def test_a_message_by_itself_is_the_bytes_that_the_description_says(name: str) -> None:
    message = CONTROLS[name]
    assert encode_message(message) == sealed(head_of(message), kind=2)
    assert decode_message(encode_message(message)) == message


def test_every_body_and_message_has_an_example_here_and_every_message_its_type() -> None:
    assert {type(body) for body in BODIES.values()} == set(get_args(Body))
    assert {type(message) for message in CONTROLS.values()} == set(get_args(ControlMessage))
    messages = {*get_args(Body), *get_args(ControlMessage)} - {Hello, Heartbeat, Close}
    assert set(MESSAGE_TYPES) == messages
    assert set(MESSAGE_TYPES.values()) == set(MessageType)


def test_records_are_a_view_of_the_frame_on_a_multiple_of_eight() -> None:
    for partition in ("p" * length for length in range(9)):
        metadata = msgspec.structs.replace(METADATA, partition=partition)
        body = msgspec.structs.replace(BODIES["streamed"], metadata=metadata)
        data = encode(Frame(ME, PEER, 3, body))
        records = decoded_transfer(data).records
        assert records.obj is data
        assert records.readonly
        assert records == CONTENT
        assert data.index(bytes(CONTENT)) % 8 == 0


def decoded_transfer(data: bytes) -> Transfer:
    body = decode(data).body
    assert isinstance(body, Transfer)
    return body


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, pa.py_buffer])
def test_a_batch_of_arrow_arrives_in_whatever_holds_bytes(form: Callable[[bytes], Any]) -> None:
    rows = pa.record_batch({"a": [1, 2, None], "b": ["x", "", None]})
    records = memoryview(rows.serialize())
    frame = Frame(ME, PEER, 3, msgspec.structs.replace(BODIES["alpha to beta"], records=records))
    body = decoded_transfer(form(encode(frame)))
    assert pa.ipc.read_record_batch(pa.py_buffer(body.records), rows.schema) == rows
    assert hashlib.sha256(body.records).digest() == hashlib.sha256(records).digest()


def test_a_batch_without_records_has_content_or_none() -> None:
    for content in (memoryview(b""), memoryview(pa.record_batch({"a": pa.array([], pa.int64())}).serialize())):
        frame = Frame(ME, PEER, 3, msgspec.structs.replace(BODIES["alpha to beta"], records=content))
        assert bytes(decoded_transfer(encode(frame)).records) == bytes(content)


# --- what was not said: dropped -----------------------------------------------------------------------------------


def refusal(data: bytes, read: Callable[[bytes], object] = decode) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        read(data)
    return caught.value


def test_every_beginning_of_a_frame_is_cut_short() -> None:
    data = encode(FRAMES["alpha to beta"])
    for length in range(len(data)):
        error = refusal(data[:length])
        assert type(error) is DamagedFrame
        assert error.kind.code == "INT_LINK_005"


@pytest.mark.parametrize("name", ["close", "received", "streamed"])
def test_every_single_bit_that_flips_is_noticed(name: str) -> None:
    data = bytearray(encode(FRAMES[name]))
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            error = refusal(bytes(data))
            assert type(error) is DamagedFrame, (place, bit)
            assert error.kind.code in {"INT_LINK_005", "INT_LINK_006"}, (place, bit)
            data[place] ^= 1 << bit
    assert decode(data) == FRAMES[name]


@pytest.mark.parametrize("more", [b"\0", b"\0" * 16, b"PNST", encode(FRAMES["close"])])
def test_a_frame_with_something_behind_it_is_no_frame(more: bytes) -> None:
    assert type(refusal(encode(FRAMES["hello"]) + more)) is DamagedFrame


def test_what_is_dropped_is_a_passing_fault_of_one_frame() -> None:
    for data in (b"", b"PNST", b"x" * 100, encode(FRAMES["close"])[:-1]):
        kind = refusal(data).kind
        assert (kind.severity, kind.recoverability) == (Severity.WARNING, Recoverability.TRANSIENT)
        assert kind.scope is Scope.BATCH


# --- what was said and must not be: the link closes ---------------------------------------------------------------


def changed(name: str, path: str, value: object) -> bytes:
    """Return the frame or message with another value at `path`, sealed as if it had been meant; `...` takes it out."""
    source: Frame | ControlMessage = FRAMES[name] if name in FRAMES else CONTROLS[name]
    head = deepcopy(head_of(source))
    place: Any = head
    *before, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in before:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return sealed(head, content_of(source), kind=1 if name in FRAMES else 2)


FAULTS: dict[str, tuple[str, str, object, str, str]] = {
    "a type that is not known": ("signal", "body.type", "Whistle", "INT_LINK_009", "Whistle"),
    "no type": ("signal", "body.type", ..., "INT_LINK_013", "missing required field `type`"),
    "a struct that is no message": ("signal", "body.type", "BatchMetadata", "INT_LINK_009", "BatchMetadata"),
    "a status that is not known": ("processed", "body.payload.status", "PERHAPS", "INT_LINK_012", "PERHAPS"),
    "a module that is not known": ("processed", "body.header.source_module", "DELTA", "INT_LINK_012", "DELTA"),
    "a message type that is not known": ("processed", "body.header.message_type", "HM", "INT_LINK_012", "HM"),
    "an outcome that is not known": ("processed", "body.payload.tally.0.outcome", "lost", "INT_LINK_012", "lost"),
    "a text for a number": ("processed", "body.payload.records_accepted", "1", "INT_LINK_013", "Expected `int`"),
    "a number for a text": ("processed", "body.payload.batch_id", 5, "INT_LINK_013", "Expected `str`"),
    "truth for a number": ("processed", "body.payload.records_accepted", True, "INT_LINK_013", "Expected `int`"),
    "a field that is missing": ("processed", "body.payload.batch_id", ..., "INT_LINK_013", "`batch_id`"),
    "a frame without a sender": ("processed", "sender", ..., "INT_LINK_013", "`sender`"),
    "another message's type": (
        "processed",
        "body.header.message_type",
        "BACKPRESSURE",
        "INT_LINK_013",
        "header.message_type is BACKPRESSURE, and ACKNOWLEDGMENT stands there",
    ),
    "records in the head": ("streamed", "body.records", b"x", "INT_LINK_013", "belong behind it"),
    "a negative count": (
        "processed",
        "body.payload.records_accepted",
        -1,
        "INT_LINK_014",
        "body.payload.records_accepted is no whole number from 0 to 9,223,372,036,854,775,807",
    ),
    "a negative incarnation": ("hello", "sender", -1, "INT_LINK_014", "sender is no"),
    "a number beyond int64": ("hello", "settled_below", 1 << 63, "INT_LINK_014", "settled_below is no"),
    "a negative place in a partition": ("hello", "body.settled_to", {"p": -1}, "INT_LINK_014", "body.settled_to is"),
    "a sequence that is negative": ("processed", "body.payload.excepted.0.sequences", [4, -1], "INT_LINK_014", "items"),
    "a range that ends before it begins": (
        "streamed",
        "body.metadata.range",
        {"start": 12, "end": 10},
        "INT_LINK_014",
        "[12, 10) is no range",
    ),
    "a range below zero": ("streamed", "body.metadata.range", {"start": -1, "end": 1}, "INT_LINK_014", "is no range"),
    "a range beyond int64": (
        "streamed",
        "body.metadata.range",
        {"start": 0, "end": (1 << 64) - 1},
        "INT_LINK_014",
        "body.metadata.range.end is no",
    ),
    "a score that is no number": (
        "streamed",
        "body.validation_summary.average_quality_score",
        float("nan"),
        "INT_LINK_014",
        "average_quality_score is no finite number",
    ),
    "a rate without end": (
        "beta to gamma",
        "body.transformation_summary.enrichment_cache_hit_rate",
        float("inf"),
        "INT_LINK_014",
        "is no finite number",
    ),
    "a time without a zone": ("signal", "body.header.timestamp", "2026-01-01T00:00:00", "INT_LINK_014", "in UTC"),
    "a time of another zone": ("signal", "body.header.timestamp", "2026-01-01T00:00:00+02:00", "INT_LINK_014", "UTC"),
    "a time that is none": ("signal", "body.header.timestamp", "yesterday", "INT_LINK_013", "Invalid RFC3339"),
    "more records than a batch has": (
        "streamed",
        "body.metadata.record_count",
        RECORDS_MAX + 1,
        "INT_LINK_014",
        "record_count is no whole number from 0 to 1,000,000",
    ),
    "a version that is none": ("signal", "body.header.protocol_version", "1", "INT_LINK_007", "'1' is no version"),
    "another major version": ("hello", "body.protocol_version", "2.0.0", "INT_LINK_007", "speaks protocol 2.0.0"),
    "a name that is too long": (
        "hello",
        "body.settled_to",
        {"p" * 8_193: 1},
        "INT_LINK_008",
        "8,193 characters",
    ),
    "a parameter that JSON has not": ("control", "parameters.since", b"x", "INT_LINK_013", "parameters holds a bytes"),
    "a parameter that is no number": ("control", "parameters.since", float("nan"), "INT_LINK_014", "not finite"),
    "a parameter by a number": ("control", "parameters.since", {1: 1}, "INT_LINK_013", "parameters is of the type int"),
    "a tier that is not known": ("cache", "source_tier", "L4", "INT_LINK_012", "L4"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_of_the_other_end_has_its_code_and_says_what_it_is(what: str) -> None:
    name, path, value, code, says = FAULTS[what]
    error = refusal(changed(name, path, value), decode if name in FRAMES else decode_message)
    assert type(error) is RemoteViolation
    assert error.kind.code == code
    assert says in error.message
    assert (error.kind.severity, error.kind.recoverability) == (Severity.CRITICAL, Recoverability.PERMANENT)
    assert error.kind.scope is Scope.MODULE


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (sealed(head_of(FRAMES["close"]), format_version=2), "INT_LINK_007", "format 2"),
        (sealed(head_of(FRAMES["close"]), kind=2), "INT_LINK_013", "kind 2"),
        (sealed(head_of(FRAMES["close"]), zero=1), "INT_LINK_013", "kind 1, 1"),
        (sealed(head_of(FRAMES["close"]), head_bytes=0), "INT_LINK_013", "bytes stand where"),
        (sealed(head_of(FRAMES["close"]), content_bytes=8), "INT_LINK_013", "bytes stand where"),
        (sealed(head_of(FRAMES["close"]), head_bytes=HEAD_BYTES_MAX + 1), "INT_LINK_008", "16,777,217 bytes"),
        (sealed(head_of(FRAMES["close"]), b"more"), "INT_LINK_013", "Close has no content, and 4 bytes"),
        (sealed(b""), "INT_LINK_013", "truncated"),
        (sealed(b"\xc1"), "INT_LINK_013", "malformed"),
        (sealed(b"\xdd\xff\xff\xff\xff"), "INT_LINK_013", ""),
        (sealed({"sender": 1} | {f"x{n}": n for n in range(100)}), "INT_LINK_013", "missing required field"),
        (sealed(head_of(FRAMES["close"]) | {"\ud800".encode("utf-8", "surrogatepass"): 1}), "INT_LINK_013", ""),
        (sealed(msgspec.msgpack.encode(head_of(FRAMES["close"])) + b"\0"), "INT_LINK_013", "trailing"),
        (
            sealed(msgspec.msgpack.encode(head_of(FRAMES["close"])).replace(b"Close", b"Cl\xffse")),
            "INT_LINK_013",
            "utf-8",
        ),
        (sealed(b"\x81\xa1x" + b"\x91" * 100_000 + b"\0"), "INT_LINK_008", "too deep"),
    ],
)
def test_a_frame_that_is_not_built_as_it_must_be_is_refused(data: bytes, code: str, says: str) -> None:
    error = refusal(data)
    assert type(error) is RemoteViolation
    assert error.kind.code == code
    assert says in error.message


def test_a_frame_that_is_too_large_is_refused_unread() -> None:
    error = refusal(bytes(FRAME_BYTES_MAX + 1))
    assert type(error) is RemoteViolation
    assert error.kind.code == "INT_LINK_008"
    assert error.message == "a frame is 67,108,865 bytes, and 67,108,864 are allowed"


def test_a_message_by_itself_is_no_frame_and_has_no_content() -> None:
    control = CONTROLS["status"]
    assert refusal(encode_message(control)).kind.code == "INT_LINK_013"
    assert refusal(encode(FRAMES["close"]), decode_message).kind.code == "INT_LINK_013"
    assert refusal(sealed(head_of(control), b"more", kind=2), decode_message).kind.code == "INT_LINK_013"


def test_what_an_error_cites_is_cut() -> None:
    assert len(refusal(changed("signal", "body.type", "W" * 1_000_000)).message) < 300


# --- limits, at both ends -----------------------------------------------------------------------------------------


def holders(value: object, struct: type) -> Iterator[Callable[[str, object], Any]]:
    """Yield, for each instance of `struct` in `value`, what makes `value` with another field in it."""
    if isinstance(value, struct):
        yield lambda field, new: msgspec.structs.replace(value, **{field: new})  # type: ignore[type-var] # a struct
    for field in getattr(value, "__struct_fields__", ()):
        within = getattr(value, field)
        items = within if isinstance(within, tuple) else (within,)
        for item in items:
            for place in holders(item, struct):

                def put(name: str, new: object, field: str = field, place: Any = place, within: Any = within) -> Any:  # noqa: ANN401 - whatever struct
                    put_in = place(name, new)
                    return msgspec.structs.replace(
                        value,  # type: ignore[type-var] # a struct
                        **{field: (put_in, *within[1:]) if isinstance(within, tuple) else put_in},
                    )

                yield put


def with_field(struct: type, field: str, new: object) -> Frame | ControlMessage:
    """Return an example that has `new` in a field of `struct`."""
    for example in (*FRAMES.values(), *CONTROLS.values()):
        for put in holders(example, struct):
            changed_example: Frame | ControlMessage = put(field, new)
            return changed_example
    raise AssertionError(f"no example has a {struct.__name__}")


def grown(value: object, size: int) -> object:
    """Return `value`, of so many characters, bytes or items."""
    if isinstance(value, dict):
        return {f"{number:x}": next(iter(value.values())) for number in range(size)}
    assert isinstance(value, str | bytes | tuple)
    return value[:1] * size


def present(struct: type, field: str) -> object:
    """Return what an example has in a field of `struct`."""
    found: list[object] = []

    def look(value: object) -> None:
        if isinstance(value, struct) and getattr(value, field):
            found.append(getattr(value, field))
        for name in getattr(value, "__struct_fields__", ()):
            within = getattr(value, name)
            for item in within if isinstance(within, tuple) else (within,):
                look(item)

    for example in (*FRAMES.values(), *CONTROLS.values()):
        look(example)
    return found[0]


def write(value: Frame | ControlMessage) -> bytes:
    return encode(value) if isinstance(value, Frame) else encode_message(value)


def read(value: Frame | ControlMessage) -> object:
    """Read what an end without limits would have written."""
    is_frame = isinstance(value, Frame)
    data = sealed(msgspec.msgpack.encode(bare(value)), content_of(value), kind=1 if is_frame else 2)
    return decode(data) if is_frame else decode_message(data)


def bare(value: Frame | ControlMessage) -> Frame | ControlMessage:
    if not isinstance(value, Frame) or not isinstance(value.body, Transfer):
        return value
    return msgspec.structs.replace(value, body=msgspec.structs.replace(value.body, records=memoryview(b"")))


@pytest.mark.parametrize(("struct", "field"), SIZES)
def test_both_ends_keep_to_every_limit_of_size(struct: type, field: str) -> None:
    most = SIZES[struct, field]
    allowed = with_field(struct, field, grown(present(struct, field), most))
    assert read(allowed) == allowed
    write(allowed)
    beyond = with_field(struct, field, grown(present(struct, field), most + 1))
    with pytest.raises(RemoteViolation, match=rf"{field} has .* {most:,} are allowed") as caught:
        read(beyond)
    assert caught.value.kind.code == "INT_LINK_008"
    with pytest.raises(Unsendable, match=rf"{field} has .* {most:,} are allowed") as refused:
        write(beyond)
    assert refused.value.kind.code == "INT_LINK_015"


@pytest.mark.parametrize(("struct", "field"), NUMBERS)
def test_both_ends_keep_to_every_limit_of_a_number(struct: type, field: str) -> None:
    low, high = NUMBERS[struct, field]
    for number in (low, high):
        allowed = with_field(struct, field, number)
        assert read(allowed) == allowed
        write(allowed)
    for number in (low - 1, high + 1):
        beyond = with_field(struct, field, number)
        with pytest.raises(RemoteViolation, match=f"{field} is no whole number"):
            read(beyond)
        with pytest.raises(Unsendable, match=f"{field} is no whole number"):
            write(beyond)


def test_a_text_without_a_limit_of_its_own_has_the_one_of_names() -> None:
    allowed = with_field(MessageHeader, "message_id", "ä" * limits.NAME_CHARACTERS_MAX)
    assert read(allowed) == allowed
    beyond = with_field(MessageHeader, "message_id", "x" * (limits.NAME_CHARACTERS_MAX + 1))
    with pytest.raises(RemoteViolation, match=r"header.message_id has 8,193 characters, and 8,192 are allowed"):
        read(beyond)
    with pytest.raises(Unsendable, match="has 8,193 characters"):
        write(beyond)


def test_parameters_may_be_so_deep_and_no_deeper() -> None:
    deep: object = 1
    for _ in range(PARAMETER_DEPTH_MAX):
        deep = [deep]
    allowed = with_field(JobControlRequest, "parameters", {"p": deep})
    assert read(allowed) == allowed
    write(allowed)
    for beyond in ([deep], {"q": deep}, [0] * (limits.PARAMETERS_MAX + 1)):
        with pytest.raises(RemoteViolation) as caught:
            read(with_field(JobControlRequest, "parameters", {"p": beyond}))
        assert caught.value.kind.code == "INT_LINK_008"
        with pytest.raises(Unsendable):
            write(with_field(JobControlRequest, "parameters", {"p": beyond}))


@pytest.mark.parametrize(
    ("struct", "field", "value", "says"),
    [
        (BatchMetadata, "record_count", "2", "record_count is of the type str, and int stands there"),
        (BatchMetadata, "record_count", True, "record_count is of the type bool"),
        (BatchMetadata, "flush", 1, "flush is of the type int, and bool"),
        (BatchMetadata, "partition", b"p", "partition is of the type bytes, and str"),
        (BatchMetadata, "created_at", NOON.replace(tzinfo=None), "created_at is not a time in UTC"),
        (BatchMetadata, "created_at", NOON.astimezone(timezone(timedelta(hours=2))), "is not a time in UTC"),
        (BatchMetadata, "created_at", 7, "created_at is of the type int, and datetime"),
        (BatchMetadata, "position", None, "position is of the type NoneType, and Position"),
        (BatchMetadata, "priority", "NORMAL", "priority is of the type str, and Priority"),
        (ValidationSummary, "average_quality_score", float("nan"), "average_quality_score is no finite number"),
        (ValidationSummary, "average_quality_score", -0.5, "average_quality_score is no finite number from 0 on"),
        (ValidationSummary, "average_quality_score", "1", "average_quality_score is of the type str"),
        (ValidationSummary, "records_passed", -1, "records_passed is no whole number"),
        (ValidationSummary, "records_passed", 1 << 20_000, "records_passed is no whole number"),
        (Excepted, "sequences", (1, -1), "sequences has items that are no whole numbers"),
        (Excepted, "sequences", (1, "2"), "sequences has items that are no whole numbers"),
        (Excepted, "sequences", [1], "sequences is of the type list, and tuple"),
        (AlphaBetaBatchTransfer, "records", b"x", "records is of the type bytes, and memoryview"),
        (AlphaBetaBatchTransfer, "records", CONTENT[::2], "records is of the type memoryview"),
        (Frame, "sender", -1, "sender is no whole number"),
        (Frame, "body", CONTROLS["status"], "body is of the type JobStatusUpdate, which may not stand there"),
        (Hello, "protocol_version", "2.0.0", "the other end speaks protocol 2.0.0"),
        (MessageHeader, "message_type", MessageType.BACKPRESSURE, "message_type is BACKPRESSURE, and BATCH_TRANSFER"),
        (MessageHeader, "message_id", "\ud800", "surrogates not allowed"),
        (JobControlRequest, "parameters", {"p": (1,)}, "parameters holds a tuple, which JSON has not"),
        (JobControlRequest, "parameters", {"p": {1: 1}}, "parameters is of the type int, and str"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_the_other_end_would_refuse_is_not_written(struct: type, field: str, value: object, says: str) -> None:
    with pytest.raises(Unsendable) as caught:
        write(with_field(struct, field, value))
    kind = caught.value.kind
    assert says in caught.value.message
    assert kind.code == "INT_LINK_015"
    assert (kind.severity, kind.recoverability, kind.scope) == (Severity.ERROR, Recoverability.PERMANENT, Scope.BATCH)


def test_both_ends_keep_to_the_limit_of_a_head() -> None:
    results = (RecordDeliveryResult("r" * 8_192, "facts", DeliveryStatus.DLQ, NOON),) * 3_000
    beyond = with_field(DeliveryConfirmation, "delivery_results", results)
    says = r"the head of a message is 2\d,\d{3},\d{3} bytes, and 16,777,216 are allowed"
    with pytest.raises(Unsendable, match=says):
        write(beyond)
    with pytest.raises(RemoteViolation, match=says):
        read(beyond)


def test_both_ends_keep_to_the_limit_of_content() -> None:
    allowed = with_field(StreamingHandoffMessage, "records", memoryview(bytes(CONTENT_BYTES_MAX)))
    assert len(decoded_transfer(write(allowed)).records) == CONTENT_BYTES_MAX
    beyond = with_field(StreamingHandoffMessage, "records", memoryview(bytes(CONTENT_BYTES_MAX + 1)))
    says = "the content of a frame is 50,331,585 bytes, and 50,331,584 are allowed"
    with pytest.raises(Unsendable, match=says):
        write(beyond)
    with pytest.raises(RemoteViolation, match=says):
        read(beyond)


def test_the_answer_to_the_largest_batch_fits_when_nothing_of_it_was_delivered() -> None:
    top = limits.WHOLE_MAX
    excepted = msgspec.structs.replace(EXCEPTED[0], sequences=tuple(range(top - RECORDS_MAX, top)))
    data = write(with_field(AcknowledgmentPayload, "excepted", (excepted,)))
    assert len(data) < HEAD_BYTES_MAX
    ranges = tuple(Range(start, start + 1) for start in range(top - 2 * limits.RANGES_MAX, top, 2))
    assert len(write(with_field(DeliveryConfirmation, "delivered", ranges))) < HEAD_BYTES_MAX


def test_a_setting_allows_no_batch_that_the_limits_forbid() -> None:
    for name in ("ALPHA_BETA_BATCH_SIZE", "BETA_GAMMA_BATCH_SIZE", "STREAMING_BATCH_RECORDS"):
        assert SETTINGS[name].high <= RECORDS_MAX


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.1.0", Version(1, 1, 0)),
        ("0.0.0", Version(0, 0, 0)),
        ("10.20.30", Version(10, 20, 30)),
        ("1.2.0-rc.1+7", Version(1, 2, 0)),
    ],
)
def test_a_version_is_three_numbers_and_what_follows_them_says_nothing(text: str, version: Version) -> None:
    assert read_version(text) == version
    assert str(version) == text.partition("-")[0]


@pytest.mark.parametrize(
    "text", ["", "1", "1.1", "1.1.0.0", "01.1.0", "v1.1.0", "1.1.0 ", "1.1.x", "1.-1.0", "\u0661.1.0"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(RemoteViolation, match="is no version of the protocol") as caught:
        read_version(text)
    assert caught.value.kind.code == "INT_LINK_007"


def test_two_ends_keep_to_the_older_of_their_versions_within_a_major() -> None:
    assert agree("1.1.0") == OURS == Version(1, 1, 0)
    assert agree("1.0.0") == SPECIFIED == Version(1, 0, 0)
    assert agree("1.10.0") == agree("1.2.7") == OURS
    for text in ("0.9.0", "2.0.0"):
        with pytest.raises(RemoteViolation, match=f"the other end speaks protocol {text}, this one 1.1.0"):
            agree(text)


def test_what_a_newer_minor_adds_is_ignored() -> None:
    for name, frame in FRAMES.items():
        head = head_of(frame)
        head["hue"] = head["body"]["hue"] = {"deep": [1, 2, {"er": None}]}
        if "header" in head["body"]:
            head["body"]["header"] |= {"protocol_version": "1.2.0", "hue": 1}
        if name == "hello":
            head["body"]["protocol_version"] = "1.2.0"
        found = decode(sealed(head, content_of(frame)))
        assert type(found.body) is type(frame.body)
        assert found.settled_below == 3


def test_what_a_newer_minor_should_not_have_sent_is_refused_with_its_version() -> None:
    head = head_of(FRAMES["signal"])
    head["body"]["header"]["protocol_version"] = "1.2.0"
    head["body"]["type"] = "Whistle"
    error = refusal(sealed(head))
    assert error.kind.code == "INT_LINK_009"
    assert error.message.endswith("(written in protocol 1.2.0)")


def test_another_major_is_refused_by_its_hello_however_else_it_may_differ() -> None:
    hello: dict[str, Any] = {"type": "Hello", "protocol_version": "2.0.0"}
    for body in (hello, hello | {"settled_to": "all"}, hello | {"type": "Greeting"}):
        for head in ({"sender": 1, "receiver": 0, "settled_below": 0, "body": body}, {"body": body}):
            error = refusal(sealed(head))
            assert type(error) is RemoteViolation
            assert str(error) == (
                "INT_LINK_007 the other end speaks protocol 2.0.0, this one 1.1.0; bring both ends to one version"
            )


ADDITIONS = {
    "metadata": ("partition", "range", "position", "destination", "priority", "flush", "errors"),
    "payload": ("tally", "excepted", "sequence_number"),
    "": ("delivered",),
}


def as_specified(name: str) -> bytes:
    """Return an example as an end of 1.0.0 writes it: without our additions."""
    head = head_of(FRAMES[name])
    for part, fields in ADDITIONS.items():
        place = head["body"].get(part, {}) if part else head["body"]
        for field in fields:
            place.pop(field, None)
    head["body"]["header"]["protocol_version"] = "1.0.0"
    return sealed(head, content_of(FRAMES[name]))


@pytest.mark.parametrize("name", ["received", "processed", "signal", "confirmation", "errors", "circuit"])
def test_a_message_of_1_0_0_is_read_where_its_additions_have_defaults(name: str) -> None:
    body = decode(as_specified(name)).body
    assert type(body) is type(BODIES[name])
    if isinstance(body, Acknowledgment):
        assert (body.payload.tally, body.payload.excepted, body.payload.sequence_number) == ((), (), -1)
    if isinstance(body, DeliveryConfirmation):
        assert body.delivered == ()


@pytest.mark.parametrize("name", ["alpha to beta", "beta to gamma"])
def test_a_transfer_of_1_0_0_does_not_say_what_it_accounts_for_and_is_refused(name: str) -> None:
    error = refusal(as_specified(name))
    assert type(error) is RemoteViolation
    assert error.kind.code == "INT_LINK_007"
    assert error.message.startswith("protocol 1.0.0 does not tell what protocol 1.1.0 needs: Object missing")
    assert "`partition`" in error.message


def test_an_end_of_1_0_0_is_sent_the_messages_that_it_defines_and_no_others() -> None:
    known = {"alpha to beta", "beta to gamma", "received", "processed", "signal", "hello", "heartbeat", "close"}
    for name, frame in FRAMES.items():
        assert knows(SPECIFIED, type(frame.body)) == (name in known)
        assert knows(OURS, type(frame.body))
        if name in known:
            assert encode(frame, SPECIFIED) == encode(frame)
        else:
            with pytest.raises(Unsendable, match=r"an end of protocol 1\.0\.0 does not know"):
                encode(frame, SPECIFIED)


class SpecifiedHeader(msgspec.Struct):
    message_type: str
    protocol_version: str


class SpecifiedPayload(msgspec.Struct):
    batch_id: str
    status: str
    records_accepted: int
    records_rejected: int
    processing_duration_ms: int


class SpecifiedAcknowledgment(msgspec.Struct):
    header: SpecifiedHeader
    payload: SpecifiedPayload


class Carrying(msgspec.Struct):
    body: SpecifiedAcknowledgment


def test_whoever_ignores_our_additions_reads_the_rest_of_what_we_write() -> None:
    data = encode(FRAMES["processed"], SPECIFIED)
    head = data[16 : 16 + int.from_bytes(data[8:12], "little")]
    body = msgspec.msgpack.decode(head, type=Carrying).body
    assert body.payload == SpecifiedPayload("5f0c", "PROCESSED", 1, 1, 17)
    assert body.header == SpecifiedHeader("ACKNOWLEDGMENT", "1.1.0")
