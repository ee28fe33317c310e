"""How much one message may hold. Both ends keep to it: the one that writes refuses to, the one that reads refuses it.

A limit is there because whoever reads must hold what it reads. None is meant to be met in a day's work: what is larger
is a defect, or asks for smaller batches.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from penstock.model.position import Position
from penstock.protocol.cache_messages import CacheAccessRequest, CacheAccessResponse, CacheWarmUpRequest
from penstock.protocol.frames import Heartbeat, Hello
from penstock.protocol.health_messages import ComponentHealth, HealthCheckResponse
from penstock.protocol.job_messages import DependencySignal, JobControlRequest, ScheduleNotification
from penstock.protocol.messages import (
    AFFECTED_IDS_MAX,
    AcknowledgmentPayload,
    BatchErrorSummary,
    BatchMetadata,
    CircuitStateChange,
    DeliveryConfirmation,
    ErrorContext,
    ErrorNotification,
    Excepted,
    IntegrationError,
    StreamedRange,
    StreamingAcknowledgment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

FRAME_BYTES_MAX = 64 << 20
"""A frame is read whole before it is checked, so this is what one peer can make us hold."""
HEAD_BYTES_MAX = 16 << 20
"""All of a frame but the content of its records. Room for a million sequences of nine bytes each, the largest single
answer there is. A head becomes objects of several times its size."""
CONTENT_BYTES_MAX = FRAME_BYTES_MAX - HEAD_BYTES_MAX - 64
"""The records of a batch, as Arrow has them: what is left of a frame, whatever its head is like."""
RECORDS_MAX = 1_000_000
"""Records of a batch, and so sequences in one answer: as many as ALPHA_BETA_BATCH_SIZE may be set to."""
GROUPS_MAX = 10_000
"""Different fates in one answer (destination, outcome, stage, reason): a hundred destinations with a hundred each."""
ANSWERS_MAX = 50_000
"""Streamed messages answered at once. An answer takes some 200 bytes, so that they fit into a head."""
RESULTS_MAX = 50_000
"""Records named one by one in a DeliveryConfirmation, likewise. More are told in several."""
RANGES_MAX = 500_000
"""Ranges in a DeliveryConfirmation: every other record of the largest batch."""
PARTITIONS_MAX = 100_000
"""Partitions of a source that a HELLO or HEARTBEAT tells of: each may be a file, and a name is some 50 bytes."""
ERRORS_MAX = 100
"""Errors in a notification, and errors that one error names as its causes: more help nobody."""
ERROR_CODES_MAX = 1_000
"""Different codes in an error summary: several times what the error table has."""
MODULES_MAX = 16
"""Modules that one circuit concerns: there are five."""
COMPONENTS_MAX = 1_000
"""Parts of a module that a health check looks at: each source, model and destination is one."""
KEY_PATTERNS_MAX = 1_000
"""Patterns in a request to warm up a cache. More say "everything", and one pattern does."""
DOWNSTREAM_JOBS_MAX = 10_000
"""Jobs that wait for one."""
PARAMETERS_MAX = 1_000
"""Parameters of a job, and values in each list or object among them."""
PARAMETER_DEPTH_MAX = 8
"""Lists and objects within each other, in a parameter. The only depth that a message does not fix."""
VALUE_BYTES_MAX = 4 << 20
"""One cached value. It stands in the head, and next to it there is room for its key."""
NAME_CHARACTERS_MAX = 8_192
"""Every text but those below. A partition may be a path (4,096 on Linux), and names a record with its source."""
TEXT_CHARACTERS_MAX = 65_536
"""What people read, values cited in errors, and the token of a position, which is its source's own."""
WHOLE_MAX = (1 << 63) - 1
"""Every whole number: what int64 holds, in Arrow and SQLite as well as here."""

SIZES: Mapping[tuple[type, str], int] = MappingProxyType(
    {
        (Hello, "settled_to"): PARTITIONS_MAX,
        (Heartbeat, "settled_to"): PARTITIONS_MAX,
        (Position, "token"): TEXT_CHARACTERS_MAX,
        (BatchErrorSummary, "error_breakdown"): ERROR_CODES_MAX,
        (BatchErrorSummary, "affected_record_ids"): AFFECTED_IDS_MAX,
        (AcknowledgmentPayload, "tally"): GROUPS_MAX,
        (AcknowledgmentPayload, "excepted"): GROUPS_MAX,
        (Excepted, "sequences"): RECORDS_MAX,
        (StreamingAcknowledgment, "settled"): ANSWERS_MAX,
        (StreamedRange, "tally"): GROUPS_MAX,
        (StreamedRange, "excepted"): GROUPS_MAX,
        (DeliveryConfirmation, "delivery_results"): RESULTS_MAX,
        (DeliveryConfirmation, "delivered"): RANGES_MAX,
        (ErrorNotification, "errors"): ERRORS_MAX,
        (IntegrationError, "error_message"): TEXT_CHARACTERS_MAX,
        (ErrorContext, "expected_value"): TEXT_CHARACTERS_MAX,
        (ErrorContext, "actual_value"): TEXT_CHARACTERS_MAX,
        (ErrorContext, "upstream_errors"): ERRORS_MAX,
        (CircuitStateChange, "affected_modules"): MODULES_MAX,
        (HealthCheckResponse, "checks"): COMPONENTS_MAX,
        (ComponentHealth, "message"): TEXT_CHARACTERS_MAX,
        (CacheAccessRequest, "value"): VALUE_BYTES_MAX,
        (CacheAccessResponse, "value"): VALUE_BYTES_MAX,
        (CacheWarmUpRequest, "key_patterns"): KEY_PATTERNS_MAX,
        (JobControlRequest, "parameters"): PARAMETERS_MAX,
        (DependencySignal, "downstream_jobs"): DOWNSTREAM_JOBS_MAX,
        (ScheduleNotification, "parameters"): PARAMETERS_MAX,
    }
)
"""How many characters, bytes or items a field may have. Text that is not named here: NAME_CHARACTERS_MAX."""

NUMBERS: Mapping[tuple[type, str], tuple[int, int]] = MappingProxyType(
    {
        (BatchMetadata, "record_count"): (0, RECORDS_MAX),
        (AcknowledgmentPayload, "sequence_number"): (-1, WHOLE_MAX),  # -1: an end of 1.0.0 does not tell
    }
)
"""Least and most of a whole number, where it is not 0 to WHOLE_MAX."""
