"""The spec's messages about jobs: what is asked of one, how it goes, what waits for it, when it is due."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from penstock.protocol.messages import MessageHeader


class JobOperation(StrEnum):
    """What is asked of a job."""

    START = "START"
    STOP = "STOP"
    PAUSE = "PAUSE"
    RESUME = "RESUME"


class JobStatus(StrEnum):
    """How an execution stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class DependencySignalType(StrEnum):
    """What happened that others may have waited for."""

    JOB_COMPLETE = "JOB_COMPLETE"
    JOB_FAILED = "JOB_FAILED"
    DATA_READY = "DATA_READY"


class JobControlRequest(msgspec.Struct, frozen=True, tag=True):
    """Do this with the job. `parameters` are values as JSON has them: null, truth, number, text, list, object."""

    header: MessageHeader
    operation: JobOperation
    job_id: str
    parameters: dict[str, Any]


class JobStatusUpdate(msgspec.Struct, frozen=True, tag=True):
    """How one execution of a job goes. `progress_percent` is in [0, 100]."""

    header: MessageHeader
    job_id: str
    execution_id: str
    status: JobStatus
    progress_percent: float
    records_processed: int


class DependencySignal(msgspec.Struct, frozen=True, tag=True):
    """Something happened to `job_id` that `downstream_jobs` wait for."""

    header: MessageHeader
    signal_type: DependencySignalType
    job_id: str
    downstream_jobs: tuple[str, ...]


class ScheduleNotification(msgspec.Struct, frozen=True, tag=True):
    """The job is to begin at `scheduled_time` (UTC), with these parameters, as in JobControlRequest."""

    header: MessageHeader
    job_id: str
    scheduled_time: datetime
    parameters: dict[str, Any]


JobMessage: TypeAlias = JobControlRequest | JobStatusUpdate | DependencySignal | ScheduleNotification
