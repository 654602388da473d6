"""Experiments of rules and what may be said of them. Rates and shares of effects are 0-1: they are figures."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from oracle_api.schemas.models import IntervalOut
from oracle_api.schemas.words import Outgoing

Verdict = Literal["better", "worse", "no difference found", "not enough data", "broken split"]


class EffectOut(Outgoing):
    """One figure of an arm against control.

    `interval` is right if looked at once, `sequential` at all times at once. `lift` is the difference as a share of
    control's mean. `detectable` is the smallest difference that so many users would find in 8 of 10 experiments.
    """

    users: int
    mean: float
    control_users: int
    control_mean: float
    difference: float
    interval: IntervalOut
    sequential: IntervalOut
    lift: float | None
    lift_interval: IntervalOut | None
    statistic: float
    p: float
    detectable: float
    verdict: Verdict


class ArmEffectsOut(Outgoing):
    """One arm against control; `adjustedP` is the goal's among all experiments, `summary` a sentence."""

    arm: str
    goal: EffectOut
    revenue: EffectOut
    unsubscribed: EffectOut
    complained: EffectOut
    adjusted_p: float
    verdict: Verdict
    summary: str


class ArmOut(Outgoing):
    """One arm: `share` percent planned, users assigned, and what those did whose days are over."""

    arm: str
    share: int
    enrolled: int
    users: int
    converted: int
    revenue: float
    unsubscribed: int
    complained: int


class SplitOut(Outgoing):
    """Whether users fell into the arms as planned."""

    p: float
    broken: bool


class ExperimentOut(Outgoing):
    """One experiment. `causal`: control was held out, so a difference is what the rule brought about."""

    id: UUID
    rule_id: UUID
    rule_name: str
    rule_version: int
    goal_event: str
    goal_days: int
    started_at: datetime
    ended_at: datetime | None
    control: str
    causal: bool
    arms: list[ArmOut]
    split: SplitOut
    effects: list[ArmEffectsOut]


class ExperimentsOut(Outgoing):
    """Every experiment, those that run first."""

    experiments: list[ExperimentOut]
