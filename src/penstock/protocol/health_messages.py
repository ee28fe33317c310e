"""The spec's messages about health: what is asked, what is answered, and the pipeline's health made of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

from penstock.protocol.messages import MessageHeader, Module


class CheckType(StrEnum):
    """What is asked: whether it runs, whether it can take work, or how each of its parts is."""

    LIVENESS = "LIVENESS"
    READINESS = "READINESS"
    DETAILED = "DETAILED"


class HealthStatus(StrEnum):
    """How something is. From best to worst."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"


class HealthCheckRequest(msgspec.Struct, frozen=True, tag=True):
    """How are you?"""

    header: MessageHeader
    check_type: CheckType


class ComponentHealth(msgspec.Struct, frozen=True):
    """How one part of a module is. `message` says what it waits for or lacks; empty when all is well."""

    component_name: str
    status: HealthStatus
    message: str
    last_check: datetime


class HealthCheckResponse(msgspec.Struct, frozen=True, tag=True):
    """The answer. `checks` are the parts that were looked at: none, for a check of liveness."""

    header: MessageHeader
    status: HealthStatus
    checks: tuple[ComponentHealth, ...]
    uptime_seconds: int


class ModuleHealth(msgspec.Struct, frozen=True):
    """What a module last answered, and when. An addition: the spec names the type and leaves it open.

    `last_check` is None for a module that has never answered; its other fields say nothing but the status.
    """

    status: HealthStatus
    checks: tuple[ComponentHealth, ...] = ()
    uptime_seconds: int = 0
    last_check: datetime | None = None


class PipelineHealthStatus(msgspec.Struct, frozen=True):
    """How the pipeline as a whole is. A value and no message: it is worked out where it is shown.

    `error_rate_1m` is the share of records refused in the last minute, in [0, 1].
    """

    overall_status: HealthStatus
    module_statuses: dict[Module, ModuleHealth]
    active_circuits_open: int
    error_rate_1m: float
    throughput_records_per_second: float


HealthMessage: TypeAlias = HealthCheckRequest | HealthCheckResponse
