"""The messages are the specification's: its fields by name, type and order first, what is ours after them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from penstock.model.position import Position, Range
from penstock.protocol import cache_messages, health_messages, job_messages, messages
from penstock.protocol.codec import ControlMessage
from penstock.protocol.frames import Body
from penstock.protocol.health_messages import ComponentHealth, HealthStatus, ModuleHealth, PipelineHealthStatus
from penstock.protocol.messages import (
    PROTOCOL_VERSION,
    BatchMetadata,
    Message,
    MessageHeader,
    MessageType,
    Module,
    Priority,
    Reply,
    Transfer,
)

NOON = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
METADATA = BatchMetadata("5f0c", 3, 2, "ab" * 32, NOON, "orders.csv", Range(10, 12), Position("orders.csv", 10, ""))
HEALTH = "HEALTHY, DEGRADED, UNHEALTHY"
MODULES = "ALPHA, BETA, GAMMA"

SPECIFIED = f"""
MessageHeader
    message_id: string
    correlation_id: string
    source_module: enum {MODULES}
    target_module: enum {MODULES}
    message_type: enum BATCH_TRANSFER, ACKNOWLEDGMENT, BACKPRESSURE
    timestamp: datetime
    protocol_version: string
BatchMetadata
    batch_id: string
    sequence_number: integer
    record_count: integer
    checksum: string
    created_at: datetime
AcknowledgmentPayload
    batch_id: string
    status: enum RECEIVED, PROCESSED, REJECTED
    records_accepted: integer
    records_rejected: integer
    processing_duration_ms: integer
AlphaBetaBatchTransfer
    header: MessageHeader
    metadata: BatchMetadata
    records: list<ValidatedRecord>
    validation_summary: ValidationSummary
ValidationSummary
    total_records_validated: integer
    records_passed: integer
    records_failed: integer
    average_quality_score: float
BetaGammaBatchTransfer
    header: MessageHeader
    metadata: BatchMetadata
    records: list<TransformedRecord>
    transformation_summary: TransformationSummary
    quality_summary: QualitySummary
TransformationSummary
    total_records_transformed: integer
    transformations_applied: integer
    enrichment_cache_hit_rate: float
QualitySummary
    average_quality_score: float
    min_quality_score: float
    max_quality_score: float
    records_below_threshold: integer
BackPressureSignal
    header: MessageHeader
    signal_type: enum ACTIVATE, DEACTIVATE
    current_queue_depth: integer
    recommended_delay_ms: integer
DeliveryConfirmation
    header: MessageHeader
    batch_id: string
    delivery_results: list<RecordDeliveryResult>
RecordDeliveryResult
    record_id: string
    destination_id: string
    status: enum DELIVERED, FAILED, DLQ
    delivery_timestamp: datetime
IntegrationError
    error_id: string
    correlation_id: string
    timestamp: datetime
    source_module: enum {MODULES}
    severity: enum CRITICAL, ERROR, WARNING
    recoverability: enum TRANSIENT, PERMANENT, UNKNOWN
    scope: enum RECORD, BATCH, MODULE, PIPELINE
    error_code: string
    error_message: string
    context: ErrorContext
    retry_eligible: boolean
ErrorContext
    record_id: string
    batch_id: string
    field_name: string
    expected_value: string
    actual_value: string
    upstream_errors: list<string>
BatchErrorSummary
    upstream_errors: integer
    error_breakdown: map<string, integer>
    affected_record_ids: list<string>
ErrorNotification
    header: MessageHeader
    errors: list<IntegrationError>
    action_required: enum NONE, THROTTLE, HALT, INVESTIGATE
CircuitBreakerState
    circuit_id: string
    state: enum CLOSED, OPEN, HALF_OPEN
    failure_count: integer
    last_failure: datetime
    next_attempt: datetime
CircuitStateChange
    header: MessageHeader
    circuit_id: string
    previous_state: enum CLOSED, OPEN, HALF_OPEN
    new_state: enum CLOSED, OPEN, HALF_OPEN
    affected_modules: list<enum>
HealthCheckRequest
    header: MessageHeader
    check_type: enum LIVENESS, READINESS, DETAILED
HealthCheckResponse
    header: MessageHeader
    status: enum {HEALTH}
    checks: list<ComponentHealth>
    uptime_seconds: integer
ComponentHealth
    component_name: string
    status: enum {HEALTH}
    message: string
    last_check: datetime
PipelineHealthStatus
    overall_status: enum {HEALTH}
    module_statuses: map<enum, ModuleHealth>
    active_circuits_open: integer
    error_rate_1m: float
    throughput_records_per_second: float
CacheAccessRequest
    header: MessageHeader
    operation: enum GET, PUT, INVALIDATE
    cache_key: string
    cache_namespace: string
    value: bytes
    ttl_seconds: integer
CacheAccessResponse
    header: MessageHeader
    status: enum HIT, MISS, ERROR
    value: bytes
    source_tier: enum L1, L2, L3
    latency_ms: float
CacheWarmUpRequest
    header: MessageHeader
    cache_namespace: string
    key_patterns: list<string>
    priority: enum NORMAL, HIGH
JobControlRequest
    header: MessageHeader
    operation: enum START, STOP, PAUSE, RESUME
    job_id: string
    parameters: map<string, any>
JobStatusUpdate
    header: MessageHeader
    job_id: string
    execution_id: string
    status: enum PENDING, RUNNING, COMPLETED, FAILED
    progress_percent: float
    records_processed: integer
DependencySignal
    header: MessageHeader
    signal_type: enum JOB_COMPLETE, JOB_FAILED, DATA_READY
    job_id: string
    downstream_jobs: list<string>
ScheduleNotification
    header: MessageHeader
    job_id: string
    scheduled_time: datetime
    parameters: map<string, any>
"""
"""Every structure of the specification 1.0.0, with its fields in their order."""

STRUCTURES: dict[str, dict[str, str]] = {
    name: dict(line.strip().split(": ", 1) for line in fields.splitlines())
    for name, fields in re.findall(r"^(\w+)\n((?:    .+\n)+)", SPECIFIED, re.MULTILINE)
}
PLAIN = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "datetime": datetime,
    "bytes": bytes,
    "any": Any,
}
AS_ARROW = {"list<ValidatedRecord>", "list<TransformedRecord>"}
"""Records travel as one Arrow record batch."""
ADDED_TO_THE_END = {Module: ("EPSILON", "PHI")}


ENUMS: list[type[StrEnum]] = [
    each
    for module in (messages, health_messages, cache_messages, job_messages)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, StrEnum) and each is not StrEnum
]


def struct_called(name: str) -> type:
    (found,) = (
        vars(module)[name]
        for module in (messages, health_messages, cache_messages, job_messages)
        if getattr(vars(module).get(name), "__module__", "") == module.__name__
    )
    assert isinstance(found, type)
    return found


def is_the_type(hint: Any, specified: str) -> bool:  # noqa: ANN401 - a hint may be anything
    """Tell whether `hint` is what the specification calls `specified`; None may stand for what does not apply."""
    if NoneType in get_args(hint):
        (hint,) = set(get_args(hint)) - {NoneType}
    if specified in AS_ARROW:
        return hint is memoryview
    if specified.startswith("list<"):
        item, dots = get_args(hint)
        return get_origin(hint) is tuple and dots is ... and is_the_type(item, specified[5:-1])
    if specified.startswith("map<"):
        parts = zip(get_args(hint), specified[4:-1].split(", "), strict=True)
        return get_origin(hint) is dict and all(is_the_type(part, each) for part, each in parts)
    if specified.startswith("enum"):
        return issubclass(hint, StrEnum) and has_the_values(hint, specified[5:])
    return bool(hint is PLAIN.get(specified) or (specified not in PLAIN and hint is struct_called(specified)))


def has_the_values(enum: type[StrEnum], specified: str) -> bool:
    """Tell whether an enum begins with the values of the specification; each is called as it is spelt."""
    values = specified.split(", ") if specified else []
    return [member.value for member in enum][: len(values)] == values and all(each.name == each.value for each in enum)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_has_the_fields_of_the_specification_first_and_in_their_order(name: str) -> None:
    struct = struct_called(name)
    assert issubclass(struct, msgspec.Struct)
    fields = STRUCTURES[name]
    assert struct.__struct_fields__[: len(fields)] == tuple(fields)
    hints = get_type_hints(struct)
    assert [field for field, specified in fields.items() if not is_the_type(hints[field], specified)] == []


def test_every_structure_of_the_specification_is_compared() -> None:
    assert len(STRUCTURES) == 28
    assert sum(len(fields) for fields in STRUCTURES.values()) == 129


def test_only_some_enums_have_more_values_than_specified() -> None:
    """What stands in a message beside the specified words is an addition, and is listed as one."""
    longer = {}
    for name, fields in STRUCTURES.items():
        hints = get_type_hints(struct_called(name))
        for field, specified in fields.items():
            if specified.startswith("enum "):
                (enum,) = {hints[field], *get_args(hints[field])} & set(ENUMS)
                more = tuple(enum)[len(specified.split(", ")) :]
                if more:
                    longer[enum] = tuple(member.value for member in more)
    assert longer.pop(MessageType)[0] == "STREAMING_HANDOFF"
    assert longer == ADDED_TO_THE_END


def test_every_message_says_who_speaks_and_is_told_from_the_others_by_its_type() -> None:
    every = {*get_args(Message), *get_args(ControlMessage)}
    for message in every:
        assert message.__struct_fields__[0] == "header"
        assert get_type_hints(message)["header"] is MessageHeader
        assert message.__struct_config__.tag == message.__name__
    assert len({message.__name__ for message in {*every, *get_args(Body)}}) == len({*every, *get_args(Body)})
    assert set(get_args(Transfer)) & set(get_args(Reply)) == set()


def test_a_header_speaks_the_version_with_our_additions() -> None:
    header = MessageHeader("1", "2", Module.ALPHA, Module.BETA, MessageType.BATCH_TRANSFER, NOON)
    assert header.protocol_version == PROTOCOL_VERSION == "1.1.0"


def test_nothing_lingers_on_account_of_a_batch_that_is_critical_or_the_last_at_hand() -> None:
    assert not METADATA.urgent
    assert msgspec.structs.replace(METADATA, flush=True).urgent
    assert msgspec.structs.replace(METADATA, priority=Priority.CRITICAL).urgent


def test_the_health_of_a_pipeline_can_be_shown_as_json() -> None:
    waiting = ComponentHealth("facts", HealthStatus.DEGRADED, "waits for the destination", NOON)
    health = PipelineHealthStatus(
        HealthStatus.DEGRADED,
        {
            Module.GAMMA: ModuleHealth(HealthStatus.DEGRADED, (waiting,), 60, NOON),
            Module.PHI: ModuleHealth(HealthStatus.UNHEALTHY),
        },
        1,
        0.25,
        1_000.0,
    )
    shown = msgspec.json.encode(health)
    assert b'"GAMMA":{"status":"DEGRADED","checks":[{"component_name":"facts"' in shown
    assert b'"PHI":{"status":"UNHEALTHY","checks":[],"uptime_seconds":0,"last_check":null}' in shown
    assert msgspec.json.decode(shown, type=PipelineHealthStatus) == health
