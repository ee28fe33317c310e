"""The link's own frames, in which messages travel: who is speaking to whom, and how far everything is settled.

None of this is the spec's; it stands in the table of additions of `docs/specs/integration-layer.md`.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from penstock.protocol.messages import PROTOCOL_VERSION, Message

NOBODY = 0
"""The incarnation of a peer that has not been met."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Who I am; which incarnation, the frame says. `settled_to` tells by partition what is settled here.

    A receiving end adds how much may be streamed to it.
    """

    settled_to: dict[str, int] = {}
    credit_to: int = 0
    protocol_version: str = PROTOCOL_VERSION


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """Still here. From the receiving end it repeats what may have been lost.

    `settled_to` by partition, `received_below`, `credit_to` as in StreamingAcknowledgment. `flush`, from the sending
    end, says that it waits for what it has sent: nothing should linger.
    """

    settled_to: dict[str, int] = {}
    received_below: int = 0
    credit_to: int = 0
    flush: bool = False


class Close(msgspec.Struct, frozen=True, tag=True):
    """Nothing more will come: `messages` were sent in this incarnation of the sender.

    `final` says that they are answered and that no other incarnation will follow: the receiver may leave, too.
    """

    messages: int
    final: bool = False


Body: TypeAlias = Message | Hello | Heartbeat | Close


class Frame(msgspec.Struct, frozen=True):
    """What a transport carries.

    `sender` is the incarnation that speaks, `receiver` the one it takes its peer to be (NOBODY before they have met).
    `settled_below`: every message numbered below it has been answered for good, says the receiving end; that answer has
    arrived, says the sending end.
    """

    sender: int
    receiver: int
    settled_below: int
    body: Body
