"""What happens to a rule besides being published: drafts, versions and what differs, pauses, counts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from oracle_api.schemas.words import Incoming, Outgoing, Text

_LARGEST = 2**31 - 1
VersionNumber = Annotated[int, Field(ge=1, le=_LARGEST)]
# 0: the rule was never published.
SeenVersion = Annotated[int, Field(ge=0, le=_LARGEST)]


class DraftProblem(Outgoing):
    """What keeps a draft from being published."""

    field: str | None
    message: str


class DraftOut(Outgoing):
    """A draft as it was sent; `problem` is null for one that can be published."""

    body: Mapping[str, JsonValue]
    saved_by: str
    saved_at: datetime
    problem: DraftProblem | None


class PublishIn(Incoming):
    """The version that was seen beside the draft."""

    seen_version: SeenVersion


class RollbackIn(Incoming):
    """The version to go back to, and the newest one that was seen."""

    version: VersionNumber
    seen_version: VersionNumber


class PauseIn(Incoming):
    """Why a rule is held back, for whoever wonders."""

    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class ListedVersionOut(Outgoing):
    """A version, and the fields in which it differs from the one before it."""

    version: int
    published_at: datetime
    published_by: str | None
    changed: list[str]


class VersionsOut(Outgoing):
    """Every version of a rule, the newest first."""

    versions: list[ListedVersionOut]


class VersionOut(Outgoing):
    """One version and what it says."""

    version: int
    published_at: datetime
    published_by: str | None
    definition: Mapping[str, JsonValue]


class ChangeOut(Outgoing):
    """One place, such as `conditions.all[1].value`, and what stands there; null where nothing does."""

    field: str
    old: JsonValue
    new: JsonValue


class ChangesOut(Outgoing):
    """What differs, place by place."""

    changes: list[ChangeOut]


class RuleStatsOut(Outgoing):
    """What came of a rule, over all its versions."""

    proposed: int
    by_status: Mapping[str, int]
    skipped: Mapping[str, int]
    last_triggered: datetime | None
