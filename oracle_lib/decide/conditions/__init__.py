"""The condition tree of rules and audiences: read from JSON, checked, and written back.

A tree is `{"all": [..]}`, `{"any": [..]}` or `{"not": ..}` over leaves:

    {"segment": "churnRisk", "op": ">=", "value": 60}
    {"change": "churnLevel", "rose": true, "within_days": 7}         or "fell", "from", "to"
    {"event": "lesson_complete", "within_days": 7, "count": {"op": ">=", "value": 3}}
    {"sum": {"of": "revenue", "op": ">=", "value": 100}, "within_days": 30}
    {"days_since": {"event": "login", "op": ">", "value": 3}}        `activity`: the user's own last act of any kind
    {"sequence": {"first": "lesson_start", "then_not": "lesson_complete", "within_days": 3}}
    {"message": "not_opened", "channel": "email", "within_days": 14, "count": {"op": ">=", "value": 2}}
    {"prediction": "upgrade", "op": ">=", "value": 60}
    {"progress": {"course": "python", "op": ">=", "value": 50}}
    {"trait": "plan", "op": "=", "value": "pro"}
    {"tag": "vip"}

A comparison with something unknown is false, also `!=`; `"value": null` with `=` or `!=` asks whether it is unknown.
Probabilities compare as the integers 0-100 people see. Every refusal names the place, such as `conditions.all[1].op`.
`matching.py` compiles a tree to one expression.
"""

from oracle_lib.decide.conditions.reading import MAX_DEPTH, MAX_NODES, parse
from oracle_lib.decide.conditions.tree import (
    ACTIVITY,
    CHANNELS,
    MESSAGES,
    SUMMED,
    All,
    AnyOf,
    Changed,
    Condition,
    CourseProgress,
    DaysSince,
    EventCount,
    EventSum,
    Followed,
    HasTag,
    Leaf,
    MessageCount,
    Not,
    PredictionIs,
    SegmentIs,
    TraitIs,
    Value,
    field_of,
    leaves,
    nodes,
)
from oracle_lib.decide.conditions.values import MAX_DAYS, MAX_ITEMS, MAX_TEXT, OPERATORS
from oracle_lib.decide.conditions.writing import wire

__all__ = [
    "ACTIVITY",
    "CHANNELS",
    "MAX_DAYS",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_NODES",
    "MAX_TEXT",
    "MESSAGES",
    "OPERATORS",
    "SUMMED",
    "All",
    "AnyOf",
    "Changed",
    "Condition",
    "CourseProgress",
    "DaysSince",
    "EventCount",
    "EventSum",
    "Followed",
    "HasTag",
    "Leaf",
    "MessageCount",
    "Not",
    "PredictionIs",
    "SegmentIs",
    "TraitIs",
    "Value",
    "field_of",
    "leaves",
    "nodes",
    "parse",
    "wire",
]
