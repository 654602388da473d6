"""The words and units every body is made of, and what all bodies have in common."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

from oracle_lib.decide import fields


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a NUL or half a surrogate pair; remove it")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


def _iso(value: object) -> object:
    """Refuse a bare number: whether it counts seconds or milliseconds is anybody's guess."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and "T" in value.upper()):
        raise ValueError("must be a time such as 2026-03-04T12:00:00Z")
    return value


def _iso_day(value: object) -> object:
    """Refuse a bare number and a time: only a day can be meant."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("must be a day such as 2026-03-04")
    return value


def _percent(value: object) -> object:
    return fields.percent(value) if isinstance(value, float) else value


Text = Annotated[str, AfterValidator(_storable)]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Moment = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_in_utc)]
Day = Annotated[date, BeforeValidator(_iso_day)]
Percent = Annotated[int, BeforeValidator(_percent)]
Limit = Annotated[int, Field(ge=1, le=200)]
EngagementLevel = Literal["new", "active", "moderate", "dormant", "lost"]
Lifecycle = Literal["lead", "new", "active", "engaged", "graduate", "alumni"]
ChurnLevel = Literal["low", "medium", "high", "critical"]
ChurnReason = Literal["refund", "no_progress", "quiz_failures", "stuck", "unresponsive", "inactivity"]
ValueSegment = Literal["high", "medium", "low"]
ContactTime = Literal["morning", "afternoon", "evening"]
Channel = Literal["email", "dm", "push"]
LearningStyle = Literal["visual", "audio", "reading", "doing"]


class Incoming(BaseModel):
    """A body we read: what it does not name is refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, validate_by_name=False, validate_by_alias=True)


class Asked(Incoming):
    """The query parameters of a route: one that is not named is refused."""


class Outgoing(BaseModel):
    """A body we write, read off one of the library's own objects."""

    model_config = ConfigDict(
        alias_generator=to_camel, from_attributes=True, validate_by_name=True, validate_by_alias=True
    )


class Problem(Outgoing):
    """What was wrong, and with which field."""

    code: str = Field(examples=["empty_id"])
    field: str | None
    message: str
    current: dict[str, JsonValue] | None = None
    reference: str | None = None


class ErrorOut(Outgoing):
    """The one form of every error."""

    error: Problem
