"""Ways to reach somebody: one file a provider, one small protocol. `outbox` needs no credentials and is the default."""

from oracle_lib.execute.channels.outbox import Outbox
from oracle_lib.execute.channels.protocol import (
    Ambiguous,
    Answer,
    Broken,
    Channel,
    Delivered,
    Limited,
    Message,
    Pause,
    Refused,
    idempotency_key,
)

__all__ = [
    "Ambiguous",
    "Answer",
    "Broken",
    "Channel",
    "Delivered",
    "Limited",
    "Message",
    "Outbox",
    "Pause",
    "Refused",
    "idempotency_key",
]
