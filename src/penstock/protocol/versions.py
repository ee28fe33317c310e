"""Versions of the protocol: which two ends understand each other, and what an older one knows.

A version is MAJOR.MINOR.PATCH, as in Semantic Versioning 2.0.0; what may follow a hyphen or a plus says nothing about
what is understood, and is ignored. Two ends understand each other when their majors are the same; another is refused
when it says HELLO. Within a major, fields and messages are only ever added:

    a newer minor speaks     fields that are not known here are ignored. It keeps to messages and words that the older
                             of the two versions defines, which it learns from HELLO.
    an older minor speaks    what it does not send has its default; where there is none (what a batch accounts for:
                             `partition`, `range`, `position`), the message is refused, and says why.
    an older minor listens   it ignores additional fields as we do, and is sent only the messages that it defines.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from penstock.errors import RemoteViolation
from penstock.protocol.frames import Close, Heartbeat, Hello
from penstock.protocol.messages import (
    PROTOCOL_VERSION,
    Acknowledgment,
    AlphaBetaBatchTransfer,
    BackPressureSignal,
    BetaGammaBatchTransfer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:[-+][0-9A-Za-z.+-]{{1,64}})?")


class Version(NamedTuple):
    """A version of the protocol. Later ones are larger."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def read_version(text: str) -> Version:
    """Return what `text` says. RemoteViolation (INT_LINK_007) where it is no version."""
    found = _VERSION.fullmatch(text)
    if found is None:
        raise RemoteViolation("INT_LINK_007", f"{text[:64]!r} is no version of the protocol")
    return Version(int(found[1]), int(found[2]), int(found[3]))


OURS = read_version(PROTOCOL_VERSION)
SPECIFIED = Version(1, 0, 0)
"""The specification's."""

STREAMING = Version(1, 1, 0)
"""With streaming, incarnations and the account of every record."""

KNOWN_SINCE: Mapping[type, Version] = MappingProxyType(
    {
        AlphaBetaBatchTransfer: SPECIFIED,
        BetaGammaBatchTransfer: SPECIFIED,
        Acknowledgment: SPECIFIED,
        BackPressureSignal: SPECIFIED,
        Hello: SPECIFIED,
        Heartbeat: SPECIFIED,
        Close: SPECIFIED,
    }
)
"""Which version knows which body; what is not named here came with 1.1.0.

1.0.0 has values of `message_type` for four messages alone. The link's own frames carry them in every version.
"""


def agree(theirs: str) -> Version:
    """Return the version that both ends keep to: the older of `theirs`, as HELLO says it, and ours.

    Raises RemoteViolation (INT_LINK_007) where there is none.
    """
    version = read_version(theirs)
    if version.major != OURS.major:
        raise RemoteViolation("INT_LINK_007", f"the other end speaks protocol {version}, this one {OURS}")
    return min(version, OURS)


def knows(version: Version, body: type) -> bool:
    """Tell whether an end of `version` knows what `body` is."""
    return version >= KNOWN_SINCE.get(body, STREAMING)
