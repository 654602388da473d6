"""What users want less of."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, field_validator

from oracle_api.schemas.words import Channel, Incoming, Moment, Outgoing, Text
from oracle_lib.decide.definition import MAX_TOPIC


def _one_line(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("must be one line without control characters or spaces around it")
    return text


Topic = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_TOPIC), AfterValidator(_one_line)]


class ChannelPreferencesIn(Incoming):
    """What is to be different on a channel; what is not named stays, and `pausedUntil` null ends a pause."""

    unsubscribed: StrictBool | None = None
    paused_until: Moment | None = None
    fewer: StrictBool | None = None
    refused_topics: Annotated[list[Topic], Field(max_length=100)] | None = None


class PreferencesIn(Incoming):
    """What is to be different, by channel."""

    channels: Annotated[dict[Channel, ChannelPreferencesIn], Field(min_length=1)]


class StoppedOut(Outgoing):
    """Why and until when (null: for good) no marketing is sent on the channel."""

    reason: str
    until: datetime | None


class ChannelPreferencesOut(Outgoing):
    """What a user wants on a channel; `stopped` is what holds, whoever brought it about."""

    unsubscribed: bool
    paused_until: datetime | None
    fewer: bool
    refused_topics: list[str]
    stopped: StoppedOut | None

    @field_validator("refused_topics", mode="before")
    @classmethod
    def _in_order(cls, topics: frozenset[str]) -> list[str]:
        return sorted(topics)


class PreferencesOut(Outgoing):
    """What a user wants, by channel."""

    channels: dict[str, ChannelPreferencesOut]
