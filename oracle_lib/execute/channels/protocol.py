"""What a channel is asked and what it may answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias
from uuid import UUID


@dataclass(frozen=True)
class Tracking:
    """What tells of a letter's reader: the address of a picture, and that which stands for each tracked link."""

    picture: str
    links: Mapping[str, str]


@dataclass(frozen=True)
class Message:
    """One message to one user. `payload` are the frozen bytes that were approved; the rest is read from them.

    `to` is the user's e-mail address as it stands when the message is sent, None: there is none, or none is needed.
    `unsubscribe` is the address behind which they say that they want no more; None: it is not marketing, or no e-mail.
    `tracking` is what its HTML carries so that opens and clicks are known; None: it is not tracked. `preheader` is what
    mailboxes show beside an e-mail's subject; None: its first words. `locale` is whom its footer is written for.
    """

    action_id: UUID
    user_id: str
    action_type: str
    subject: str | None
    content: str
    payload: bytes
    to: str | None = None
    unsubscribe: str | None = None
    tracking: Tracking | None = None
    preheader: str | None = None
    locale: str | None = None


@dataclass(frozen=True)
class Pause:
    """What a provider's limit asks: nothing for `span`, then at most `most` messages in each; None: it does not say."""

    span: timedelta
    most: int | None = None


@dataclass(frozen=True)
class Delivered:
    """The provider has it, under this id. `pause`: it was the last that its limit lets through for now."""

    provider_id: str
    pause: Pause | None = None


@dataclass(frozen=True)
class Refused:
    """The provider has it not. `permanent`: trying again will not help."""

    reason: str
    permanent: bool


@dataclass(frozen=True)
class Limited:
    """The provider has it not: too many came, and for a while it takes none. The message is not to blame."""

    reason: str
    pause: Pause


@dataclass(frozen=True)
class Ambiguous:
    """Nobody knows whether the provider has it: the answer was lost."""

    reason: str


@dataclass(frozen=True)
class Broken:
    """The provider has it not, and would have nothing: the channel needs a person, the message is not to blame."""

    reason: str


Answer: TypeAlias = Delivered | Refused | Limited | Ambiguous | Broken


class Channel(Protocol):
    """A way to reach somebody.

    `idempotent`: a lost answer may be tried again under the same key, for `key_lives` (None: for ever): it is delivered
    once, or twice does no harm. `reaches_people`: what is delivered leaves the house.
    """

    name: str
    idempotent: bool
    key_lives: timedelta | None
    reaches_people: bool

    def deliver(self, message: Message, key: str) -> Answer:
        """Hand over a message under an idempotency key. Answers within 20 s; raises nothing on purpose.

        Called by several threads at once.
        """
        ...


def idempotency_key(environment: str, action_id: UUID) -> str:
    """Return the key under which a provider delivers an action once, however often it is asked."""
    return f"oracle/{environment}/action/{action_id}"
