"""The spec's messages about the cache: one key asked for, kept or dropped, and keys wanted soon."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from penstock.protocol.messages import MessageHeader


class CacheOperation(StrEnum):
    """What is to be done with a key."""

    GET = "GET"
    PUT = "PUT"
    INVALIDATE = "INVALIDATE"


class CacheStatus(StrEnum):
    """What came of it."""

    HIT = "HIT"
    MISS = "MISS"
    ERROR = "ERROR"


class CacheTier(StrEnum):
    """Where it was found: the nearer, the faster."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"


class WarmUpPriority(StrEnum):
    """How soon keys are wanted."""

    NORMAL = "NORMAL"
    HIGH = "HIGH"


class CacheAccessRequest(msgspec.Struct, frozen=True, tag=True):
    """One operation on one key. `value` is empty but for PUT; without `ttl_seconds` the namespace's own holds."""

    header: MessageHeader
    operation: CacheOperation
    cache_key: str
    cache_namespace: str
    value: bytes = b""
    ttl_seconds: int | None = None


class CacheAccessResponse(msgspec.Struct, frozen=True, tag=True):
    """The answer. `value` is empty unless a GET found one; `source_tier` is None where no tier had part in it."""

    header: MessageHeader
    status: CacheStatus
    value: bytes
    source_tier: CacheTier | None
    latency_ms: float


class CacheWarmUpRequest(msgspec.Struct, frozen=True, tag=True):
    """Keys that match any of `key_patterns` will be asked for soon."""

    header: MessageHeader
    cache_namespace: str
    key_patterns: tuple[str, ...]
    priority: WarmUpPriority


CacheMessage: TypeAlias = CacheAccessRequest | CacheAccessResponse | CacheWarmUpRequest
