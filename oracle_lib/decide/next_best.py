"""The next best action of a user: of the messages whose conditions hold, the one that is expected to do most good.

    score = effect x value x urgency

- effect: by how much the rule raises its goal, as its own holdout measured it, drawn towards what rules do on average
  as far as few users were seen (empirical Bayes); times how readily this user answers the channel.
- value: what the rule's priority says, 5 being 1.
- urgency: who may leave is better won back than sold to: 0.8 to 1.2 by churn risk, the other way round for a goal that
  costs the user money. It tilts the scales; what was measured weighs more.

Nothing fires here and no cause is asked for: it answers what would be best to say now, if anything. Consent, cooldown,
suppression and the rule's own limit hold all the same. Starter rules stand in for those an installation has not got.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

import ibis
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib import settings
from oracle_lib.analyze import findings
from oracle_lib.decide import decider, drafting, firing, guardrails, matching, rules_engine, starters
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import TagChange
from oracle_lib.decide.expected_effects import Effects, Expected, expected_effects
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import NotFound
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import scratch_table
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import actions, habits, segments, users

# What an action says of who proposed it.
TRIGGERED_BY = "ai_decision"
_TRIGGERS = ("event_based", "time_based", "segment_based")
_COLUMNS = {"email": "emails", "dm": "dms", "push": "pushes"}
# Goals that cost the user money.
_SALES = ("purchase", "upgrade")
# A user's own rate of answers is drawn towards everybody's as if they had been sent so many more.
_SENT_BEFORE, _USUAL_RATE = 10, 0.25
_LEAST, _MOST = 0.3, 3.0


@dataclass(frozen=True)
class Choice:
    """A rule and what it is worth to the user; `response` compares their answers on its channel with everybody's."""

    rule_name: str
    action_type: str
    score: float
    effect: float
    response: float
    value: float
    urgency: float


@dataclass(frozen=True)
class NextBest:
    """What to say to the user now, why, and what else could be said, the best first. `rule_id` None: a starter."""

    user_id: str
    action_type: str
    rule_name: str
    rule_id: UUID | None
    subject: str | None
    content: str
    reasoning: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class NextBestReport:
    """What one run proposed as next best, in all and by rule name."""

    as_of: date
    proposed: int
    by_rule: Mapping[str, int]


def for_user(conn: Connection, user_id: str, *, as_of: date, now: datetime, limits: Limits) -> NextBest | None:
    """Return what would be best to say to a user now; None where nothing fits. Raises `NotFound`. Writes nothing."""
    if conn.scalar(sa.select(users.c.id).where(users.c.id == user_id)) is None:
        raise NotFound(f"There is no user {user_id!r}.")
    people = relation(users)
    alone = people.filter(people.id == ibis.literal(user_id)).select(user_id=people.id)
    stored = _rules(conn, now)
    chosen = stored + _missing_starters(stored, now)
    expected = expected_effects(conn)
    _rank(conn, chosen, expected, as_of, alone)
    guardrails.ask_of_user(conn, now=now, limits=limits)
    ranked = sa.select(candidates.c.fired).where(candidates.c.reason.is_(None))
    choices = sorted((Choice(**fired) for fired in conn.scalars(ranked)), key=lambda one: (-one.score, one.rule_name))
    _keep_the_best(conn)
    for some in drafting.drafts(conn, chosen, as_of):
        for row in some.rows:
            rule = next(one for one in chosen if one.id == row["rule_id"])
            return NextBest(
                user_id=user_id,
                action_type=rule.definition.action_type,
                rule_name=rule.definition.name,
                rule_id=rule.id if rule in stored else None,
                subject=row["subject"] if isinstance(row["subject"], str) else None,
                content=str(row["content"]),
                reasoning=_reasoning(rule, choices[0], expected.of(rule.id)),
                choices=tuple(choices),
            )
    return None


def propose(conn: Connection, *, as_of: date, now: datetime, limits: Limits | None = None) -> NextBestReport:
    """Propose to everybody for whom nothing waits what is best for them, once a week a rule."""
    lock(conn, "propose")
    chosen = _rules(conn, now)
    asked = limits or Limits.of(settings.get())
    if not chosen:
        return NextBestReport(as_of, 0, {})
    _rank(conn, chosen, expected_effects(conn), as_of, None)
    busy = sa.exists().where(actions.c.user_id == candidates.c.user_id, actions.c.status.in_(("pending", "approved")))
    conn.execute(sa.delete(candidates).where(busy))
    firing.leave_out_answered(conn)
    guardrails.ask_of_user(conn, now=now, limits=asked)
    _keep_the_best(conn)
    guardrails.check_candidates(conn, now=now, limits=asked)
    expiry = timedelta(hours=settings.get().action_expiry_hours)
    made, _ = drafting.write(conn, chosen, as_of, now=now, expiry=expiry, triggered_by=TRIGGERED_BY)
    _, by_rule = decider.settle(conn, made, now)
    names = {rule.id: rule.definition.name for rule in chosen}
    return NextBestReport(as_of, len(made), {names[rule_id]: count for rule_id, count in by_rule.items()})


def _rules(conn: Connection, now: datetime) -> list[Rule]:
    """Return the rules that say something to a user and rest on no model that is not trusted."""
    untrusted = findings.held_targets(conn)
    return [
        rule
        for rule in rules_engine.active(conn, _TRIGGERS, now)
        if rule.definition.action_type in _COLUMNS and not rule.definition.rests_on & untrusted
    ]


def _missing_starters(stored: Sequence[Rule], now: datetime) -> list[Rule]:
    there = {rule.definition.name for rule in stored}
    return [
        Rule(
            id=uuid5(NAMESPACE_OID, said.name),
            version=0,
            definition=said,
            published_at=now,
            times_triggered=0,
            last_triggered=None,
            created_at=now,
            updated_at=now,
        )
        for said in starters.rules()
        if said.name not in there and not isinstance(said.action, TagChange)
    ]


def _rank(conn: Connection, chosen: Sequence[Rule], expected: Effects, as_of: date, among: ibis.Table | None) -> None:
    """Fill `candidates` with every rule whose conditions hold for a user, its score in `fired`."""
    columns = firing.column_of(chosen)
    conditions = {column: rule.definition.conditions for rule, column in columns.items()}
    standing = queue.is_standing(conn, "activity", as_of)
    scratch_table(conn, firing.MATCHED, matching.matches(conditions, as_of, among, standing=standing))
    firing.make_candidates(conn)
    usual = _usual_rates(conn)
    for rule, column in columns.items():
        said = rule.definition
        held = sa.table(firing.MATCHED, sa.column("user_id", sa.Text), sa.column(column, sa.Boolean))
        effect = expected.of(rule.id).effect
        response = _response(said.action_type, usual)
        risk = sa.func.coalesce(segments.c.churn_risk, 0.5)
        sells = said.goal is not None and said.goal.event in _SALES
        urgency = 1.2 - 0.4 * risk if sells else 0.8 + 0.4 * risk
        value = said.priority / 5
        parts = {
            "rule_name": sa.literal(said.name),
            "action_type": sa.literal(said.action_type),
            "score": effect * response * value * urgency,
            "effect": effect * response,
            "response": response,
            "value": sa.literal(value),
            "urgency": urgency,
        }
        fired = sa.func.jsonb_build_object(*(item for pair in parts.items() for item in pair))
        scored = (
            sa.select(
                held.c.user_id,
                sa.literal(f"next_best@{as_of:%G-W%V}").label("cause"),
                fired.label("fired"),
            )
            .outerjoin(habits, habits.c.user_id == held.c.user_id)
            .outerjoin(segments, segments.c.user_id == held.c.user_id)
            .where(held.c[column])
            .subquery()
        )
        firing.add_candidates(conn, rule, scored)


def _usual_rates(conn: Connection) -> dict[str, float]:
    """Return the share of messages that are answered on each channel, over all users."""
    sums = [sa.func.sum(habits.c[f"{plural}_{what}"]) for plural in _COLUMNS.values() for what in ("answered", "sent")]
    row = conn.execute(sa.select(*sums)).one()
    counted = dict(zip(_COLUMNS, zip(row[::2], row[1::2], strict=True), strict=True))
    return {
        channel: ((answered or 0) + _SENT_BEFORE * _USUAL_RATE) / ((sent or 0) + _SENT_BEFORE)
        for channel, (answered, sent) in counted.items()
    }


def _response(channel: str, usual: Mapping[str, float]) -> ColumnElement[float]:
    plural = _COLUMNS[channel]
    answered = sa.func.coalesce(habits.c[f"{plural}_answered"], 0)
    sent = sa.func.coalesce(habits.c[f"{plural}_sent"], 0)
    own = (answered + _SENT_BEFORE * usual[channel]) / (sent + sa.cast(_SENT_BEFORE, sa.Float)) / usual[channel]
    return sa.func.least(_MOST, sa.func.greatest(_LEAST, own))


def _keep_the_best(conn: Connection) -> None:
    score = sa.cast(candidates.c.fired["score"].as_string(), sa.Float)
    place = sa.func.row_number().over(partition_by=candidates.c.user_id, order_by=[score.desc(), candidates.c.rule_id])
    ranked = (
        sa.select(candidates.c.rule_id, candidates.c.user_id, place.label("place"))
        .where(candidates.c.reason.is_(None))
        .subquery()
    )
    best = sa.exists().where(
        ranked.c.rule_id == candidates.c.rule_id, ranked.c.user_id == candidates.c.user_id, ranked.c.place == 1
    )
    conn.execute(sa.delete(candidates).where(sa.not_(best)))


def _reasoning(rule: Rule, choice: Choice, expected: Expected) -> str:
    """Say in facts why this one: what it is for, what it was seen to do, how the user answers, how urgent it is."""
    said = rule.definition
    goal = f"{said.goal.event} within {said.goal.within_days} days" if said.goal else "coming back within 7 days"
    if expected.measured is None:
        seen = f"it was not measured here yet and is taken to raise {goal} by {100 * expected.effect:.1f} points"
    else:
        seen = (
            f"on {expected.users:,} users it raised {goal} by {100 * expected.measured:.1f} points, of which"
            f" {100 * expected.effect:.1f} are taken to last"
        )
    answers = f"this user answers {said.action_type} messages {choice.response:.1f} times as often as others"
    what = said.description or f"The rule {said.name!r} fits."
    return f"{what} Why this: {seen}; {answers}; urgency {choice.urgency:.1f} by churn risk, value {choice.value:.1f}."
