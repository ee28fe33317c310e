"""Messages as bytes: what is written is what is read, and nothing else is read as one."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from penstock.links.envelope import Envelope
from penstock.model.identity import new_id
from penstock.model.outcome import Count, Outcome, Stage
from penstock.model.position import Position, Range
from penstock.protocol.messages import (
    PROTOCOL_VERSION,
    AcknowledgmentPayload,
    AckStatus,
    BatchMetadata,
    DeliveryStatus,
    Message,
    MessageType,
    Module,
    QualitySummary,
    RecordDeliveryResult,
    Reply,
    SignalType,
    Transfer,
    TransformationSummary,
    ValidationSummary,
)
from penstock.protocol.receiver import Signal
from penstock.protocol.sender import Outgoing

NOON_S = 1_767_268_800.25
NOON = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
METADATA = BatchMetadata(
    "5f0c", 3, 2, "ab" * 32, NOON, "orders/ä.csv", Range(10, 12), Position("orders/ä.csv", 10, '{"byte": 7}'), "facts"
)
PAYLOAD = memoryview(bytes(range(256)))


class Noon:
    def now_s(self) -> float:
        return 0.0

    def time_s(self) -> float:
        return NOON_S


ALPHA = Envelope(Module.ALPHA, Module.BETA, Noon())
BETA = Envelope(Module.BETA, Module.GAMMA, Noon())
GAMMA = Envelope(Module.GAMMA, Module.BETA, Noon())

TALLY = (
    Count("facts", Outcome.DEAD_LETTERED, Stage.DELIVERY, "INT_GAMMA_003", 1),
    Count("facts", Outcome.DELIVERED, Stage.DELIVERY, "", 1),
)
MESSAGES: dict[str, Message] = {
    "alpha to beta": ALPHA.alpha_beta(Outgoing(METADATA, PAYLOAD, ValidationSummary(3, 2, 1, 0.75))),
    "beta to gamma": BETA.beta_gamma(
        Outgoing(METADATA, PAYLOAD, (TransformationSummary(2, 5, 0.5), QualitySummary(0.5, 0.25, 1.0, 1)))
    ),
    "received": GAMMA.acknowledgment(AcknowledgmentPayload("5f0c", AckStatus.RECEIVED, 2, 0, 0)),
    "processed": GAMMA.acknowledgment(AcknowledgmentPayload("5f0c", AckStatus.PROCESSED, 1, 1, 17, TALLY)),
    "signal": GAMMA.signal(Signal(SignalType.ACTIVATE, 8, 250)),
    "confirmation": GAMMA.confirmation(
        "5f0c",
        (RecordDeliveryResult("orders/ä.csv/11", "facts", DeliveryStatus.DLQ, NOON),),
        (Range(10, 11),),
    ),
}


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("codec", [msgspec.msgpack, msgspec.json])
def test_what_is_written_is_what_is_read(kind: str, codec: object) -> None:
    message = MESSAGES[kind]
    written = codec.encode(message)  # type: ignore[attr-defined] # both modules have it
    assert codec.decode(written, type=Message) == message  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_header_says_who_speaks_to_whom_about_what_in_which_version(kind: str) -> None:
    header = MESSAGES[kind].header
    assert header.protocol_version == PROTOCOL_VERSION == "1.1.0"
    assert header.timestamp == NOON
    assert UUID(header.message_id).version == 4
    speakers = {"alpha to beta": ("ALPHA", "BETA"), "beta to gamma": ("BETA", "GAMMA")}
    assert (header.source_module, header.target_module) == speakers.get(kind, ("GAMMA", "BETA"))
    kinds = {
        "alpha to beta": MessageType.BATCH_TRANSFER,
        "beta to gamma": MessageType.BATCH_TRANSFER,
        "received": MessageType.ACKNOWLEDGMENT,
        "processed": MessageType.ACKNOWLEDGMENT,
        "signal": MessageType.BACKPRESSURE,
        "confirmation": MessageType.DELIVERY_CONFIRMATION,
    }
    assert header.message_type is kinds[kind]
    if kind != "signal":
        assert header.correlation_id == "5f0c"


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_transfer_is_not_read_as_a_reply_nor_a_reply_as_a_transfer(kind: str) -> None:
    written = msgspec.msgpack.encode(MESSAGES[kind])
    wrong = Reply if " to " in kind else Transfer
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(written, type=wrong)


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        (b"PROCESSED", b"PERHAPS"),
        (b"GAMMA", b"DELTA"),
        (b'"start":10', b'"start":"x"'),
        (b'"start":10', b'"start":12'),
        (b'"start":10', b'"start":-1'),
        (b"Acknowledgment", b"Message"),
    ],
)
def test_a_word_that_is_not_of_the_protocol_is_refused(spoken: bytes, written: bytes) -> None:
    kinds = [kind for kind in ("processed", "confirmation") if spoken in msgspec.json.encode(MESSAGES[kind])]
    text = msgspec.json.encode(MESSAGES[kinds[0]]).replace(spoken, written)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Message)


def test_every_prefix_of_a_frame_is_refused() -> None:
    written = msgspec.msgpack.encode(MESSAGES["alpha to beta"])
    for length in range(len(written)):
        with pytest.raises(msgspec.DecodeError):
            msgspec.msgpack.decode(written[:length], type=Message)


def test_ids_are_fresh() -> None:
    assert len({new_id() for _ in range(1_000)}) == 1_000
