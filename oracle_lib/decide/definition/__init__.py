"""What a rule says: its definition, read from the wire's camelCase, checked, and written back as a published version.

A rule that is read here can be evaluated: its conditions are a tree, its trigger has something to fire on, its texts
can be filled in for anybody.
"""

from oracle_lib.decide.definition.model import (
    ADDRESSES,
    BASE,
    BEST_TIME,
    HOLDOUT,
    MAX_TOPIC,
    RULE_ACTIONS,
    TRIGGERS,
    Definition,
    Goal,
    Message,
    TagChange,
    Variant,
    Words,
)
from oracle_lib.decide.definition.reading import read, restore
from oracle_lib.decide.definition.writing import action_data, wire

__all__ = [
    "ADDRESSES",
    "BASE",
    "BEST_TIME",
    "HOLDOUT",
    "MAX_TOPIC",
    "RULE_ACTIONS",
    "TRIGGERS",
    "Definition",
    "Goal",
    "Message",
    "TagChange",
    "Variant",
    "Words",
    "action_data",
    "read",
    "restore",
    "wire",
]
