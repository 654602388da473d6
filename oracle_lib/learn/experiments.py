"""What became of the users of each arm: their goal, what they paid, whether they left; and what may be said of it.

`measure` keeps it beside each assignment while the days of the goal run, because raw events are not kept for ever. A
read-out counts users whose days are over, everybody assigned, reached or not; so arms are compared like with like. Only
a difference to the users held out may be called an effect: without a holdout variants are compared with the rule's own
message, which says which words did better, not whether they helped. Statistics: `effects.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide.definition import BASE, HOLDOUT
from oracle_lib.decide.experiments import ANY_ACTIVITY
from oracle_lib.errors import NotFound
from oracle_lib.learn import effects
from oracle_lib.learn.effects import Arm, Effect, Split
from oracle_lib.observe.catalogue import ACTED
from oracle_lib.observe.wire import LATE
from oracle_lib.settings import Settings
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import rule_effects

BROKEN_SPLIT = "broken split"

_FOLLOW = sa.text("""
    WITH open AS (
        SELECT a.experiment_id, a.user_id, a.exposed_at, e.goal_event,
            a.exposed_at + make_interval(days => e.goal_days) AS until
        FROM assignments a JOIN experiments e ON e.id = a.experiment_id
        WHERE a.exposed_at > :kept_from AND a.exposed_at > :late_from - make_interval(days => e.goal_days)
    ),
    done AS (
        SELECT open.experiment_id, open.user_id,
            min(e.created_at) FILTER (WHERE e.event = open.goal_event
                OR open.goal_event = :any_activity AND e.event = ANY(:acted)) AS converted_at,
            coalesce(sum(CASE WHEN e.event = 'refund' THEN -e.amount ELSE e.amount END)
                FILTER (WHERE e.event IN ('purchase', 'upgrade', 'refund')), 0) AS revenue
        FROM open
        JOIN events e ON e.user_id = open.user_id AND e.created_at > open.exposed_at AND e.created_at <= open.until
        WHERE e.created_at > :kept_from AND e.created_at <= :now
        GROUP BY open.experiment_id, open.user_id
    ),
    gone AS (
        SELECT open.experiment_id, open.user_id,
            min(s.at) FILTER (WHERE s.reason = 'unsubscribed') AS unsubscribed_at,
            min(s.at) FILTER (WHERE s.reason = 'complained') AS complained_at
        FROM open
        JOIN suppressions s ON s.user_id = open.user_id AND s.at > open.exposed_at AND s.at <= open.until
        WHERE s.at <= :now
        GROUP BY open.experiment_id, open.user_id
    ),
    found AS (
        SELECT open.experiment_id, open.user_id, done.converted_at, coalesce(done.revenue, 0) AS revenue,
            gone.unsubscribed_at, gone.complained_at
        FROM open
        LEFT JOIN done ON done.experiment_id = open.experiment_id AND done.user_id = open.user_id
        LEFT JOIN gone ON gone.experiment_id = open.experiment_id AND gone.user_id = open.user_id
    )
    UPDATE assignments a
    SET converted_at = found.converted_at, revenue = found.revenue,
        unsubscribed_at = found.unsubscribed_at, complained_at = found.complained_at
    FROM found
    WHERE a.experiment_id = found.experiment_id AND a.user_id = found.user_id
        AND (a.converted_at, a.revenue, a.unsubscribed_at, a.complained_at)
            IS DISTINCT FROM (found.converted_at, found.revenue, found.unsubscribed_at, found.complained_at)
    RETURNING old.converted_at IS NULL AND new.converted_at IS NOT NULL AS converted
""")

_EXPERIMENTS = """
    SELECT e.id, e.rule_id, r.name AS rule_name, e.rule_version, e.arms, e.goal_event, e.goal_days, e.started_at,
        e.ended_at
    FROM experiments e JOIN rules r ON r.id = e.rule_id
"""
_ALL = sa.text(f"{_EXPERIMENTS} WHERE e.started_at <= :now ORDER BY e.ended_at IS NOT NULL, e.started_at DESC, e.id")
_ONE = sa.text(f"{_EXPERIMENTS} WHERE e.id = :id")
_COUNTED = sa.text("""
    WITH told AS (
        SELECT a.*, a.exposed_at + make_interval(days => e.goal_days) <= :now AS over
        FROM assignments a JOIN experiments e ON e.id = a.experiment_id
        WHERE a.exposed_at <= :now AND a.experiment_id = ANY(:ids)
    )
    SELECT experiment_id, arm, count(*) AS enrolled, count(*) FILTER (WHERE over) AS users,
        count(converted_at) FILTER (WHERE over) AS converted,
        coalesce(sum(revenue) FILTER (WHERE over), 0) AS revenue,
        coalesce(sum(revenue * revenue) FILTER (WHERE over), 0) AS revenue_squares,
        count(unsubscribed_at) FILTER (WHERE over) AS unsubscribed,
        count(complained_at) FILTER (WHERE over) AS complained
    FROM told GROUP BY experiment_id, arm ORDER BY experiment_id, arm
""")


@dataclass(frozen=True)
class ExperimentsReport:
    """Assignments of which something new is known, those that reached their goal since the last time, and what it says.

    `running` experiments; `rates` are percent of an arm's users that reached the goal, `said` is what each arm may be
    called, by rule and arm.
    """

    changed: int
    converted: int
    running: int
    rates: Mapping[str, float]
    said: Mapping[str, str]


@dataclass(frozen=True)
class ArmFigures:
    """One arm: percent of users planned, users assigned, and of `users` whose days are over what they did in them."""

    arm: str
    share: int
    enrolled: int = 0
    users: int = 0
    converted: int = 0
    revenue: float = 0.0
    revenue_squares: float = 0.0
    unsubscribed: int = 0
    complained: int = 0


@dataclass(frozen=True)
class ArmEffects:
    """One arm against control: on the goal, on money a user, and on what must not get worse.

    `adjusted_p` is the goal's p among all experiments that were read out together (Benjamini, Hochberg). `verdict` is
    the goal's, or `broken split`.
    """

    arm: str
    goal: Effect
    revenue: Effect
    unsubscribed: Effect
    complained: Effect
    adjusted_p: float
    verdict: str


@dataclass(frozen=True)
class Readout:
    """What an experiment says at a moment. `causal`: control was held out, so a difference is the rule's effect."""

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
    arms: tuple[ArmFigures, ...]
    split: Split
    effects: tuple[ArmEffects, ...]


def measure(conn: Connection, *, now: datetime, settings: Settings) -> ExperimentsReport:
    """Record what assigned users did in the days of their goal, up to `now`, and read out what runs. Idempotent."""
    lock(conn, "assignments")
    kept = now - timedelta(days=settings.retention_days or 365 * 10)
    asked = {"now": now, "kept_from": kept, "late_from": now - LATE, "any_activity": ANY_ACTIVITY}
    changed = list(conn.scalars(_FOLLOW, {**asked, "acted": list(ACTED)}))
    read = listing(conn, now=now)
    _keep_effects(conn, read)
    running = [one for one in read if one.ended_at is None]
    return ExperimentsReport(
        changed=len(changed),
        converted=sum(changed),
        running=len(running),
        rates={
            f"{one.rule_name}, {arm.arm}": round(100 * arm.converted / arm.users, 1)
            for one in running
            for arm in one.arms
            if arm.users
        },
        said={f"{one.rule_name}, {effect.arm}": summary(one, effect) for one in running for effect in one.effects},
    )


def listing(conn: Connection, *, now: datetime) -> list[Readout]:
    """Read out every experiment as of `now`, those that run first."""
    return _read(conn, conn.execute(_ALL, {"now": now}).all(), now)


def get(conn: Connection, experiment_id: UUID, *, now: datetime) -> Readout:
    """Read out one experiment as of `now`, its p adjusted among all. Raises `NotFound`."""
    if conn.execute(_ONE, {"id": experiment_id}).one_or_none() is None:
        raise NotFound(f"There is no experiment {experiment_id}.")
    return next(one for one in listing(conn, now=now) if one.id == experiment_id)


def _keep_effects(conn: Connection, read: Sequence[Readout]) -> None:
    """Keep what each rule's newest experiment with a holdout says of all its words together, where it says enough."""
    kept: dict[UUID, dict[str, object]] = {}
    for one in sorted(read, key=lambda one: one.started_at):
        control = next((arm for arm in one.arms if arm.arm == HOLDOUT), None)
        if control is None or one.split.broken:
            continue
        others = [arm for arm in one.arms if arm is not control]
        converted = float(sum(arm.converted for arm in others))
        treated = Arm("treated", sum(arm.users for arm in others), converted, converted)
        effect = effects.compare(_rate(control, "converted"), treated, rate=True)
        if effect.verdict != effects.TOO_FEW:
            kept[one.rule_id] = {
                "rule_id": one.rule_id,
                "difference": effect.difference,
                "standard_error": effect.standard_error,
                "users": effect.users + effect.control_users,
            }
    conn.execute(sa.delete(rule_effects))
    if kept:
        conn.execute(sa.insert(rule_effects), list(kept.values()))


def _read(conn: Connection, found: Sequence[sa.Row], now: datetime) -> list[Readout]:
    counted = conn.execute(_COUNTED, {"now": now, "ids": [row.id for row in found]})
    figures = {
        experiment: {row.arm: row for row in rows}
        for experiment, rows in groupby(counted, key=lambda row: row.experiment_id)
    }
    return _adjusted([_readout(row, figures.get(row.id, {})) for row in found])


def _adjusted(read: Sequence[Readout]) -> list[Readout]:
    """Adjust the p of every effect that has data enough for being one of many."""
    told = [effect.goal.p for one in read for effect in one.effects if effect.goal.verdict != effects.TOO_FEW]
    adjusted = iter(effects.false_discoveries(told))
    return [
        replace(
            one,
            effects=tuple(
                effect if effect.goal.verdict == effects.TOO_FEW else replace(effect, adjusted_p=next(adjusted))
                for effect in one.effects
            ),
        )
        for one in read
    ]


def _readout(row: sa.Row, counted: Mapping[str, sa.Row]) -> Readout:
    arms = [_figures(planned["arm"], planned["share"], counted.get(planned["arm"])) for planned in row.arms]
    by_name = {arm.arm: arm for arm in arms}
    control = by_name.get(HOLDOUT, by_name[BASE])
    split = effects.split({arm.arm: arm.enrolled for arm in arms}, {arm.arm: float(arm.share) for arm in arms})
    return Readout(
        id=row.id,
        rule_id=row.rule_id,
        rule_name=row.rule_name,
        rule_version=row.rule_version,
        goal_event=row.goal_event,
        goal_days=row.goal_days,
        started_at=row.started_at,
        ended_at=row.ended_at,
        control=control.arm,
        causal=control.arm == HOLDOUT,
        arms=tuple(arms),
        split=split,
        effects=tuple(_against(control, arm, split) for arm in arms if arm is not control),
    )


def _figures(arm: str, share: int, row: sa.Row | None) -> ArmFigures:
    if row is None:
        return ArmFigures(arm, share)
    return ArmFigures(
        arm=arm,
        share=share,
        enrolled=row.enrolled,
        users=row.users,
        converted=row.converted,
        revenue=float(row.revenue),
        revenue_squares=float(row.revenue_squares),
        unsubscribed=row.unsubscribed,
        complained=row.complained,
    )


def _against(control: ArmFigures, arm: ArmFigures, split: Split) -> ArmEffects:
    def rate(of: str) -> Effect:
        return effects.compare(_rate(control, of), _rate(arm, of), rate=True)

    goal = rate("converted")
    return ArmEffects(
        arm=arm.arm,
        goal=goal,
        revenue=effects.compare(_money(control), _money(arm), rate=False),
        unsubscribed=rate("unsubscribed"),
        complained=rate("complained"),
        adjusted_p=goal.p,
        verdict=BROKEN_SPLIT if split.broken else goal.verdict,
    )


def _rate(arm: ArmFigures, of: str) -> Arm:
    happened = float(getattr(arm, of))
    return Arm(arm.arm, arm.users, happened, happened)


def _money(arm: ArmFigures) -> Arm:
    return Arm(arm.arm, arm.users, arm.revenue, arm.revenue_squares)


def summary(read: Readout, effect: ArmEffects) -> str:
    """Say in one sentence what an arm did against control, no more than the figures bear."""
    goal = effect.goal
    if read.split.broken:
        return "The users did not fall into the arms as planned, so nothing may be read from them."
    if goal.users == 0 or goal.control_users == 0:
        enrolled = sum(arm.enrolled for arm in read.arms)
        return f"Of {enrolled:,} users too few have been in it for {read.goal_days} days to compare anything yet."
    did = f"{read.goal_event} within {read.goal_days} days"
    against = "who got nothing" if read.causal else f"who got {read.control!r}"
    rates = f"{goal.mean:.1%} did {did}, of {goal.control_users:,} {against} {goal.control_mean:.1%}"
    counted = f"Of {goal.users:,} users {rates}"
    if goal.verdict == effects.TOO_FEW:
        return f"{counted}: not enough data to say more."
    seen = goal.sequential
    points = f"{100 * goal.difference:+.1f} points ({100 * seen.lower:+.1f} to {100 * seen.upper:+.1f} with 95 %)"
    verdict = {"better": "it does better", "worse": "it does worse"}.get(goal.verdict, "no difference found")
    return f"{counted}: {points}, {verdict}."
