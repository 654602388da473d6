"""What a rule may be expected to bring about: its measured effect, drawn towards that of rules at large.

`learn/experiments.py` writes what each rule's holdout measured into `rule_effects`. Few users measure little: a rule of
which little is known is taken for an ordinary one (normal-normal empirical Bayes, the spread between rules estimated as
DerSimonian and Laird 1986 do).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.storage.tables import rule_effects

# What a message is taken to do before any was measured here, and how much messages differ.
_BEFORE, _SPREAD_BEFORE = 0.03, 0.03
_LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Expected:
    """By how much a rule raises its goal (a share of users), and what was measured: None where nothing was."""

    effect: float
    measured: float | None = None
    users: int = 0


@dataclass(frozen=True)
class Measured:
    """One rule's measured effect with its standard error, and the users it was measured on."""

    rule_id: UUID
    difference: float
    standard_error: float
    users: int


@dataclass(frozen=True)
class Effects:
    """The expected effect of each measured rule, and of one that was never measured."""

    by_rule: Mapping[UUID, Expected]
    typical: Expected

    def of(self, rule_id: UUID) -> Expected:
        """Return what is expected of a rule."""
        return self.by_rule.get(rule_id, self.typical)


def expected_effects(conn: Connection) -> Effects:
    """Return what the rules may be expected to bring about, by everything measured so far."""
    return shrink([Measured(*row) for row in conn.execute(sa.select(rule_effects))])


def shrink(found: Sequence[Measured]) -> Effects:
    """Draw each measured effect towards the mean of all, the more the less is known of it."""
    known = [one for one in found if one.standard_error > 0]
    mean, spread = _at_large(known)
    by_rule = {}
    for one in known:
        own, common = 1 / one.standard_error**2, 1 / spread**2
        effect = (own * one.difference + common * mean) / (own + common)
        by_rule[one.rule_id] = Expected(effect, one.difference, one.users)
    return Effects(by_rule, Expected(mean))


def _at_large(known: Sequence[Measured]) -> tuple[float, float]:
    """Return the mean effect of rules and the spread between them; what is usual counts as one more rule."""
    weights = [1 / one.standard_error**2 for one in known]
    total = sum(weights)
    if len(known) < 2:
        spread = _SPREAD_BEFORE
    else:
        pooled = sum(weight * one.difference for weight, one in zip(weights, known, strict=True)) / total
        q = sum(weight * (one.difference - pooled) ** 2 for weight, one in zip(weights, known, strict=True))
        between = (q - (len(known) - 1)) / (total - sum(weight**2 for weight in weights) / total)
        spread = max(between, _LEAST_SPREAD**2) ** 0.5
    shares = [1 / (one.standard_error**2 + spread**2) for one in known] + [1 / (_SPREAD_BEFORE**2 + spread**2)]
    differences = [one.difference for one in known] + [_BEFORE]
    mean = sum(share * difference for share, difference in zip(shares, differences, strict=True)) / sum(shares)
    return mean, spread
