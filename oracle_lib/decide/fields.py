"""The segment fields a condition may name: the wire's word, its column and kind, what it moves and what it rests on.

Probabilities are floats in the table and compare as the integers 0-100 of the wire, halves rounded up.
"""

import math
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Field:
    """One field. `kind` is text, integer, percent or money; `moves` names its column in `segment_changes`.

    `ladder` is the order of its words, lowest first; a word that is not on it neither rises nor falls. `target` is what
    a model predicts to fill it.
    """

    name: str
    column: str
    kind: str
    words: tuple[str, ...] = ()
    moves: str | None = None
    target: str | None = None
    ladder: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether it can be more or less than a value."""
        return self.kind != "text"

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value to compare with; None when nothing is. None asks for the unknown."""
        if value is None:
            return None
        if not self.numeric:
            if not isinstance(value, str):
                return f"must be a text, as `{self.name}` is"
            return None if not self.words or value in self.words else f"must be one of {', '.join(self.words)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, as `{self.name}` is"
        if self.kind == "money":
            cents = Decimal(str(value)).as_tuple().exponent
            return "has more than two decimals" if isinstance(cents, int) and cents < -2 else None
        return None if value == int(value) and abs(value) < 2**31 else "must be a whole number"


_FIELDS = (
    Field(
        "engagementLevel",
        "engagement_level",
        "text",
        ("new", "active", "moderate", "dormant", "lost"),
        moves="engagement_level",
        ladder=("lost", "dormant", "moderate", "active"),
    ),
    Field("engagementScore", "engagement_score", "integer", moves="engagement_level"),
    Field("churnRisk", "churn_risk", "percent", moves="churn_level", target="churn"),
    Field(
        "churnLevel",
        "churn_level",
        "text",
        ("low", "medium", "high", "critical"),
        moves="churn_level",
        target="churn",
        ladder=("low", "medium", "high", "critical"),
    ),
    Field("churnReason", "churn_reason", "text", target="churn"),
    Field(
        "lifecycle",
        "lifecycle",
        "text",
        ("lead", "new", "active", "engaged", "graduate", "alumni"),
        moves="lifecycle",
    ),
    Field("persona", "persona", "text"),
    Field("learningStyle", "learning_style", "text"),
    Field("ltv", "ltv", "money", moves="value_segment"),
    Field(
        "valueSegment",
        "value_segment",
        "text",
        ("high", "medium", "low"),
        moves="value_segment",
        ladder=("low", "medium", "high"),
    ),
    Field("completionProb", "completion_prob", "percent", target="completion"),
    Field("upgradeProb", "upgrade_prob", "percent", target="upgrade"),
    Field("referralProb", "referral_prob", "percent", target="referral"),
    Field("bestContactTime", "best_contact_time", "text"),
    Field("bestChannel", "best_channel", "text"),
    Field("progress", "progress", "integer"),
    Field("courseId", "course_id", "text"),
)
SEGMENT: dict[str, Field] = {field.name: field for field in _FIELDS}
# The fields whose every change is kept.
CHANGING = tuple(field.name for field in _FIELDS if field.moves == field.column)
# Target of a model -> the field that holds its probability.
PREDICTED: dict[str, Field] = {field.target: field for field in _FIELDS if field.target and field.kind == "percent"}


def percent(probability: float) -> int:
    """Return a probability 0-1 as the integer 0-100 that conditions compare and people see."""
    return math.floor(probability * 100 + 0.5)
