"""Frames as bytes: the one form in which they leave a process, and how it is known that they arrived as they left.

This text is the format's definition. Numbers are little-endian and unsigned; offsets and lengths are in bytes.

    offset          length   what
    0               4        magic: "PNST"
    4               1        format version: 1
    5               1        kind: 1 a frame of a link, 2 a message by itself
    6               2        0
    8               4        H, length of the head
    12              4        C, length of the content
    16              H        head
    16 + H          0 to 7   zeros, up to a multiple of 8
    ...             C        content
    ...             16       seal: the first 16 bytes of the SHA-256 over all that stands before them

**Head.** One MessagePack value. A struct is a map from the names of its fields (`penstock.protocol.frames`,
`messages`, ...) to their values; a field that has a default may be left out. Of the kind 1 it is a `Frame`, of the kind
2 a message. A message, and the body of a frame, has one more entry, `type`, which is the name of its struct. A time is
the timestamp extension (-1). Enums are their values, lists and tuples arrays, `bytes` binary.

**Content.** What `records` of a transfer holds: one Arrow record batch in IPC form, as it is, with `records` empty in
the head. Other bodies have no content. It begins at a multiple of 8, as Arrow wants for what lies in it, and is given
out as a view: reading copies nothing, and whoever gives bytes to `decode` must leave them as they are.

**Seal.** It is looked at before anything else, even the format version, and so magic and seal stay as they are in any
later format. What does not fit its seal was not said by anyone: it is dropped, unanswered, because any number in it
may be the damaged part (`DamagedFrame`). What fits its seal was said, and whatever is wrong with it is the other end's
doing (`RemoteViolation`): the link closes. A 32-bit CRC would take half the time, and lets one of four billion damaged
frames pass; one is enough to settle what was not, silently and for good. SHA-256 is the function that the protocol has
anyway (`BatchMetadata.checksum`), processors compute it, and half of it leaves 2**-128 to chance. It is no signature:
it guards against accidents, not against anyone who writes frames.

    what is wrong                                                       error             code
    shorter than the shortest frame, or than its lengths say            DamagedFrame      INT_LINK_005
    another magic, or another seal                                      DamagedFrame      INT_LINK_006
    another format version, or major version of the protocol            RemoteViolation   INT_LINK_007
    an older minor version, which lacks what this end cannot do without RemoteViolation   INT_LINK_007
    more than FRAME_BYTES_MAX, or a limit of head, content or a field   RemoteViolation   INT_LINK_008
    a `type` that is not known                                          RemoteViolation   INT_LINK_009
    a value of an enum that is not known                                RemoteViolation   INT_LINK_012
    lengths that do not add up, another kind, a field that is missing   RemoteViolation   INT_LINK_013
      or of another type, a message_type that is not the message's
    a negative number, a range that is none, a time outside UTC         RemoteViolation   INT_LINK_014

Fields that are not known are ignored. `penstock.protocol.limits` has the limits, which `encode` checks as well
(`Unsendable`, INT_LINK_015), and `penstock.protocol.versions` says what two ends of different versions do.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import msgspec

from penstock.errors import DamagedFrame, RemoteViolation, Unsendable
from penstock.model.outcome import cited
from penstock.protocol.cache_messages import (
    CacheAccessRequest,
    CacheAccessResponse,
    CacheMessage,
    CacheWarmUpRequest,
)
from penstock.protocol.checking import Breach, Fault, check_of
from penstock.protocol.frames import Close, Frame, Heartbeat, Hello
from penstock.protocol.health_messages import HealthCheckRequest, HealthCheckResponse, HealthMessage
from penstock.protocol.job_messages import (
    DependencySignal,
    JobControlRequest,
    JobMessage,
    JobStatusUpdate,
    ScheduleNotification,
)
from penstock.protocol.limits import CONTENT_BYTES_MAX, FRAME_BYTES_MAX, HEAD_BYTES_MAX
from penstock.protocol.messages import (
    PROTOCOL_VERSION,
    Acknowledgment,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
    CircuitStateChange,
    DeliveryConfirmation,
    ErrorNotification,
    MessageType,
    StreamingAcknowledgment,
    StreamingHandoffMessage,
    Transfer,
)
from penstock.protocol.versions import OURS, Version, agree, knows, read_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.protocol.frames import Body

MAGIC = b"PNST"
FORMAT_VERSION = 1
PREAMBLE = struct.Struct("<4sBBHII")
SEAL_BYTES = 16
ALIGNMENT = 8
"""Arrow lays its buffers out at multiples of 8 within a batch, so the batch has to begin at one."""

ControlMessage: TypeAlias = HealthMessage | CacheMessage | JobMessage
"""What modules say to each other beside the links: no incarnation and nothing settled belongs to it."""

MESSAGE_TYPES: Mapping[type, MessageType] = MappingProxyType(
    {
        AlphaBetaBatchTransfer: MessageType.BATCH_TRANSFER,
        BetaGammaBatchTransfer: MessageType.BATCH_TRANSFER,
        Acknowledgment: MessageType.ACKNOWLEDGMENT,
        BackPressureSignal: MessageType.BACKPRESSURE,
        StreamingHandoffMessage: MessageType.STREAMING_HANDOFF,
        StreamingAcknowledgment: MessageType.STREAMING_ACKNOWLEDGMENT,
        DeliveryConfirmation: MessageType.DELIVERY_CONFIRMATION,
        ErrorNotification: MessageType.ERROR_NOTIFICATION,
        CircuitStateChange: MessageType.CIRCUIT_STATE_CHANGE,
        HealthCheckRequest: MessageType.HEALTH_CHECK_REQUEST,
        HealthCheckResponse: MessageType.HEALTH_CHECK_RESPONSE,
        CacheAccessRequest: MessageType.CACHE_ACCESS_REQUEST,
        CacheAccessResponse: MessageType.CACHE_ACCESS_RESPONSE,
        CacheWarmUpRequest: MessageType.CACHE_WARM_UP_REQUEST,
        JobControlRequest: MessageType.JOB_CONTROL_REQUEST,
        JobStatusUpdate: MessageType.JOB_STATUS_UPDATE,
        DependencySignal: MessageType.DEPENDENCY_SIGNAL,
        ScheduleNotification: MessageType.SCHEDULE_NOTIFICATION,
    }
)
"""What `header.message_type` of each message must be."""

NOTHING = memoryview(b"")
HeadT = TypeVar("HeadT", Frame, ControlMessage)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[HeadT]):
    """One of the two things that are sealed."""

    number: int
    decoder: msgspec.msgpack.Decoder[HeadT]
    check: Callable[[HeadT], None]


_ENCODER = msgspec.msgpack.Encoder()


def encode(frame: Frame, peer: Version = OURS) -> bytes:
    """Return `frame` as bytes for a peer that speaks `peer`, the version agreed on.

    Raises Unsendable where it breaks a limit, or `peer` does not know such a message.
    """
    body = frame.body
    if not knows(peer, type(body)):
        raise Unsendable("INT_LINK_015", f"an end of protocol {peer} does not know {type(body).__name__}")
    _check_written(_FRAME, frame)
    if not isinstance(body, Transfer):
        return _sealed(_FRAME.number, _head(frame), NOTHING)
    bare = msgspec.structs.replace(frame, body=msgspec.structs.replace(body, records=NOTHING))
    return _sealed(_FRAME.number, _head(bare), body.records)


def decode(data: bytes | bytearray | memoryview) -> Frame:
    """Return the frame that `data` is, and nothing else. `records` of a transfer is a view of `data`.

    Raises DamagedFrame or RemoteViolation.
    """
    head, content = _opened(_FRAME.number, data)
    frame = _read(_FRAME, head)
    body = frame.body
    if not isinstance(body, Transfer):
        if len(content):
            raise _misbuilt(f"{type(body).__name__} has no content, and {len(content):,} bytes came with it")
        return frame
    if len(body.records):
        raise _misbuilt("records stand in the head, and belong behind it")
    return msgspec.structs.replace(frame, body=msgspec.structs.replace(body, records=content))


def encode_message(message: ControlMessage) -> bytes:
    """Return a message that travels by itself as bytes. Raises Unsendable."""
    _check_written(_MESSAGE, message)
    return _sealed(_MESSAGE.number, _head(message), NOTHING)


def decode_message(data: bytes | bytearray | memoryview) -> ControlMessage:
    """Return the message that `data` is. Raises DamagedFrame or RemoteViolation."""
    head, content = _opened(_MESSAGE.number, data)
    if len(content):
        raise _misbuilt(f"a message by itself has no content, and {len(content):,} bytes came with it")
    return _read(_MESSAGE, head)


# --- the seal -----------------------------------------------------------------------------------------------------


def _sealed(kind: int, head: bytes, content: memoryview) -> bytes:
    """Put the parts together. One copy of the content, which is the last."""
    if too_large := _too_large(len(head), content.nbytes):
        raise Unsendable("INT_LINK_015", too_large)
    front_bytes = _aligned(PREAMBLE.size + len(head))
    preamble = PREAMBLE.pack(MAGIC, FORMAT_VERSION, kind, 0, len(head), content.nbytes)
    front = b"".join((preamble, head, bytes(front_bytes - PREAMBLE.size - len(head))))
    return b"".join((front, content, _seal(front, content)))


def _opened(kind: int, data: bytes | bytearray | memoryview) -> tuple[memoryview, memoryview]:
    """Return head and content of what is sealed in `data`."""
    view = memoryview(data).cast("B").toreadonly()
    if len(view) > FRAME_BYTES_MAX:
        raise RemoteViolation("INT_LINK_008", f"a frame is {len(view):,} bytes, and {FRAME_BYTES_MAX:,} are allowed")
    if len(view) < PREAMBLE.size + SEAL_BYTES:
        raise DamagedFrame("INT_LINK_005", f"{len(view)} bytes are no frame")
    magic, format_version, found, zero, head_bytes, content_bytes = PREAMBLE.unpack_from(view)
    front_bytes = _aligned(PREAMBLE.size + head_bytes)
    size_bytes = front_bytes + content_bytes + SEAL_BYTES
    if magic != MAGIC:
        raise DamagedFrame("INT_LINK_006", f"{len(view):,} bytes do not begin as a frame does")
    if _seal(view[:-SEAL_BYTES]) != view[-SEAL_BYTES:]:
        if len(view) < size_bytes:
            raise DamagedFrame("INT_LINK_005", f"{len(view):,} bytes came of a frame that says it has {size_bytes:,}")
        raise DamagedFrame("INT_LINK_006", f"the seal of a frame of {len(view):,} bytes does not fit")
    if format_version != FORMAT_VERSION:
        raise RemoteViolation("INT_LINK_007", f"a frame has format {format_version}, this end reads {FORMAT_VERSION}")
    if too_large := _too_large(head_bytes, content_bytes):
        raise RemoteViolation("INT_LINK_008", too_large)
    if (found, zero, size_bytes) != (kind, 0, len(view)):
        raise _misbuilt(f"kind {found}, {zero}, {size_bytes:,} bytes stand where {kind}, 0, {len(view):,} must")
    return view[PREAMBLE.size : PREAMBLE.size + head_bytes], view[front_bytes:-SEAL_BYTES]


def _seal(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()[:SEAL_BYTES]


def _aligned(size_bytes: int) -> int:
    return size_bytes + -size_bytes % ALIGNMENT


def _too_large(head_bytes: int, content_bytes: int) -> str:
    """Say which part is larger than it may be; nothing where neither is."""
    if head_bytes > HEAD_BYTES_MAX:
        return f"the head of a message is {head_bytes:,} bytes, and {HEAD_BYTES_MAX:,} are allowed"
    if content_bytes > CONTENT_BYTES_MAX:
        return f"the content of a frame is {content_bytes:,} bytes, and {CONTENT_BYTES_MAX:,} are allowed"
    return ""


# --- the head -----------------------------------------------------------------------------------------------------


def _head(value: Frame | ControlMessage) -> bytes:
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, TypeError) as error:  # a text of no Unicode, say the name of a file; a subclass
        raise Unsendable("INT_LINK_015", f"{type(value).__name__} cannot be written ({error})") from error


def _check_written(kind: _Kind[HeadT], value: HeadT) -> None:
    try:
        kind.check(value)
    except (Breach, RemoteViolation) as error:
        raise Unsendable("INT_LINK_015", f"{type(value).__name__}: {error}") from error


def _read(kind: _Kind[HeadT], head: memoryview) -> HeadT:
    try:
        value = kind.decoder.decode(head)
        kind.check(value)
    except Breach as breach:
        raise _violation(head, CODES[breach.fault], str(breach)) from breach
    except RecursionError as error:
        raise _violation(head, "INT_LINK_008", "lists or objects lie too deep within each other") from error
    except ValueError as error:  # what msgspec raises, for bad UTF-8 as well
        raise _violation(head, _code_of(error), cited(str(error))) from error
    return value


_FRAME_FIELDS = check_of(Frame)
_MESSAGE_FIELDS = check_of(ControlMessage)


def _check_frame(frame: Frame) -> None:
    _FRAME_FIELDS(frame)
    _check_header(frame.body)


def _check_message(message: ControlMessage) -> None:
    _MESSAGE_FIELDS(message)
    _check_header(message)


def _check_header(body: Body | ControlMessage) -> None:
    """Check what all messages say of themselves. Raises Breach, and RemoteViolation for another major version."""
    if isinstance(body, Hello):
        version = body.protocol_version
    elif isinstance(body, Heartbeat | Close):
        return
    else:
        version = body.header.protocol_version
        found, expected = body.header.message_type, MESSAGE_TYPES[type(body)]
        if found is not expected:
            raise Breach(Fault.SHAPE, f"header.message_type is {found}, and {expected} stands there")
    if version != PROTOCOL_VERSION:
        agree(version)


_FRAME: _Kind[Frame] = _Kind(1, msgspec.msgpack.Decoder(Frame), _check_frame)
_MESSAGE: _Kind[ControlMessage] = _Kind(2, msgspec.msgpack.Decoder(ControlMessage), _check_message)


# --- what is wrong with it ----------------------------------------------------------------------------------------

CODES: Mapping[Fault, str] = MappingProxyType(
    {Fault.SIZE: "INT_LINK_008", Fault.SHAPE: "INT_LINK_013", Fault.NUMBER: "INT_LINK_014"}
)
LACKS_A_FIELD = "Object missing required field"
BEGINNINGS: Mapping[str, str] = MappingProxyType(
    {"Invalid enum value": "INT_LINK_012", "Invalid value": "INT_LINK_009", LACKS_A_FIELD: "INT_LINK_013"}
)
"""How msgspec begins what it says. A text that begins otherwise is about something that is not built as it must be."""


class _SaidHeader(msgspec.Struct):
    protocol_version: str = PROTOCOL_VERSION


class _Said(msgspec.Struct):
    """As much of a message as tells its version, whatever else is wrong with it."""

    header: _SaidHeader | None = None
    protocol_version: str = PROTOCOL_VERSION
    body: _Said | None = None


_GLIMPSE = msgspec.msgpack.Decoder(_Said)


def _violation(head: memoryview, code: str, what: str) -> RemoteViolation:
    """Return the error about a head that cannot be used: another version is said first, since it explains the rest."""
    try:
        said = _GLIMPSE.decode(head)
        said = said.body or said
        theirs = read_version(said.header.protocol_version if said.header else said.protocol_version)
        agree(str(theirs))
    except RemoteViolation as other:
        return other
    except (ValueError, RecursionError):
        return RemoteViolation(code, what)
    if theirs < OURS and what.startswith(LACKS_A_FIELD):
        return RemoteViolation("INT_LINK_007", f"protocol {theirs} does not tell what protocol {OURS} needs: {what}")
    return RemoteViolation(code, what if theirs == OURS else f"{what} (written in protocol {theirs})")


def _code_of(error: ValueError) -> str:
    if isinstance(error.__cause__, ValueError):  # raised by a value itself: a range that is none
        return "INT_LINK_014"
    text = str(error)
    return next((code for beginning, code in BEGINNINGS.items() if text.startswith(beginning)), "INT_LINK_013")


def _misbuilt(what: str) -> RemoteViolation:
    return RemoteViolation("INT_LINK_013", what)
