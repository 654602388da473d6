"""Every figure of the week's report, counted by SQL, beside the week before.

Figures come from rollups and from what ORACLE keeps for ever (`user_days`, `segment_counts`, `segment_changes`,
`actions`, `action_changes`, `outcomes`, `rejected_events`), never from raw events, which retention drops. A week runs
Sunday 00:00 to Sunday 00:00 UTC. A figure whose source has nothing for the week is None: no data is not zero.
Test: `tests/unit/test_ceo_report.py` counts each of them by hand.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, newest_closed_week, start_of
from oracle_lib.tell.report_catalogue import CHURN, ENGAGEMENT, KINDS, Figure, Kind, Value

WEEK = timedelta(days=7)
_UNITS = {kind.id: kind.unit for kind in KINDS}
_MOVES = ("proposed", "approved", "rejected", "executed", "failed")


@dataclass(frozen=True)
class TypeRow:
    """What happened to the actions of one type in the week. `failed` counts those that ended failed or unknown."""

    action_type: str
    proposed: int
    approved: int
    rejected: int
    executed: int
    failed: int


@dataclass(frozen=True)
class RuleRow:
    """What was executed for one rule (or `manual`, `ai_decision`) in the week, and what followed in the week.

    `conversion_rate` is of the actions with a goal executed in the week, None without any; `revenue` is the money of
    the conversions.
    """

    rule: str
    executed: int
    opened: int
    clicked: int
    converted: int
    conversion_rate: float | None
    revenue: Decimal


_ACTIVITY = sa.text("""
    SELECT count(*) AS recorded,
        count(DISTINCT user_id) FILTER (WHERE acted > 0) AS active_users,
        sum(lesson_complete) AS lessons_completed,
        sum(course_complete) AS courses_completed,
        CAST(round(100.0 * sum(quiz_pass) / NULLIF(sum(quiz_pass + quiz_fail), 0), 1) AS float) AS quiz_pass_rate,
        sum(revenue) AS revenue, sum(refunds) AS refunds, sum(revenue - refunds) AS net_revenue
    FROM user_days WHERE day >= :first AND day < :after
""")

_NEW_USERS = sa.text("""
    SELECT count(*) FROM users u LEFT JOIN activity a ON a.user_id = u.id
    WHERE COALESCE(CAST(u.joined_at AS date), a.first_seen_on, CAST(u.created_at AS date)) >= :first
        AND COALESCE(CAST(u.joined_at AS date), a.first_seen_on, CAST(u.created_at AS date)) < :after
""")

_ENGAGEMENT = sa.text(
    "SELECT value, users FROM segment_counts WHERE day = :last AND field = 'engagement_level' AND users > 0"
)

_BECAME = sa.text("""
    SELECT count(DISTINCT user_id) FILTER (WHERE new = 'dormant') AS became_dormant,
        count(DISTINCT user_id) FILTER (WHERE new = 'lost') AS became_lost
    FROM segment_changes
    WHERE field = 'engagement_level' AND old IS NOT NULL AND as_of >= :first AND as_of < :after
    HAVING EXISTS (SELECT FROM segment_changes WHERE field = 'engagement_level' AND as_of < :after)
""")

_CHURN_THEN = sa.text("""
    SELECT level, count(*) FROM (
        SELECT DISTINCT ON (user_id) new AS level FROM segment_changes
        WHERE field = 'churn_level' AND as_of < :after
        ORDER BY user_id, as_of DESC, id DESC
    ) newest WHERE level IS NOT NULL GROUP BY level
""")

_CHURN_NOW = sa.text("SELECT churn_level, count(*) FROM segments WHERE churn_level IS NOT NULL GROUP BY churn_level")

_BY_TYPE = sa.text("""
    WITH move AS (
        SELECT 'proposed' AS what, id AS action_id, action_type FROM actions
        WHERE created_at >= :start AND created_at < :stop
        UNION
        SELECT CASE c.new_status WHEN 'unknown' THEN 'failed' ELSE c.new_status END, a.id, a.action_type
        FROM action_changes c JOIN actions a ON a.id = c.action_id
        WHERE c.at >= :start AND c.at < :stop AND (
            c.new_status IN ('rejected', 'failed', 'unknown') OR c.new_status = 'approved' AND c.old_status = 'pending')
        UNION
        SELECT 'executed', id, action_type FROM actions
        WHERE status = 'executed' AND executed_at >= :start AND executed_at < :stop
    )
    SELECT action_type,
        count(*) FILTER (WHERE what = 'proposed') AS proposed, count(*) FILTER (WHERE what = 'approved') AS approved,
        count(*) FILTER (WHERE what = 'rejected') AS rejected, count(*) FILTER (WHERE what = 'executed') AS executed,
        count(*) FILTER (WHERE what = 'failed') AS failed
    FROM move GROUP BY action_type ORDER BY action_type
""")

# One row an action executed in the week or with an outcome in it: `has` what came in the week, `sent` if it was
# executed in the week, `had` what came between that and the week's end.
_FOLLOWED = """
    SELECT a.id, a.triggered_by, a.action_type,
        a.executed_at >= :start AND a.executed_at < :stop AS sent,
        v.definition -> 'goal' ->> 'event' IS NOT NULL AS has_goal,
        count(*) FILTER (WHERE o.kind = 'opened') > 0 AS had_opened,
        count(*) FILTER (WHERE o.kind = 'clicked') > 0 AS had_clicked,
        count(*) FILTER (WHERE o.kind = 'converted') > 0 AS had_converted,
        count(*) FILTER (WHERE o.kind = 'opened' AND o.at >= :start) AS opened,
        count(*) FILTER (WHERE o.kind = 'clicked' AND o.at >= :start) AS clicked,
        count(*) FILTER (WHERE o.kind = 'converted' AND o.at >= :start) AS converted,
        COALESCE(sum(o.amount) FILTER (WHERE o.kind = 'converted' AND o.at >= :start), 0) AS revenue
    FROM actions a
    LEFT JOIN rule_versions v ON v.rule_id = a.rule_id AND v.version = a.rule_version
    LEFT JOIN outcomes o ON o.action_id = a.id AND o.at < :stop
    WHERE a.status = 'executed' AND a.executed_at < :stop AND (a.executed_at >= :start OR o.at >= :start)
    GROUP BY a.id, v.definition
"""

_OUTCOMES = sa.text(f"""
    SELECT COALESCE(sum(opened), 0) AS opened, COALESCE(sum(clicked), 0) AS clicked,
        COALESCE(sum(converted), 0) AS converted, COALESCE(sum(revenue), 0) AS converted_revenue,
        CAST(round(100.0 * count(*) FILTER (WHERE sent AND had_opened AND action_type IN ('email', 'dm'))
            / NULLIF(count(*) FILTER (WHERE sent AND action_type IN ('email', 'dm')), 0), 1) AS float) AS open_rate,
        CAST(round(100.0 * count(*) FILTER (WHERE sent AND had_clicked AND action_type = 'email')
            / NULLIF(count(*) FILTER (WHERE sent AND action_type = 'email'), 0), 1) AS float) AS click_rate,
        CAST(round(100.0 * count(*) FILTER (WHERE sent AND had_converted AND has_goal)
            / NULLIF(count(*) FILTER (WHERE sent AND has_goal), 0), 1) AS float) AS conversion_rate
    FROM ({_FOLLOWED}) followed
""")  # noqa: S608

_BY_RULE = sa.text(f"""
    SELECT triggered_by AS rule, count(*) FILTER (WHERE sent) AS executed, sum(opened) AS opened,
        sum(clicked) AS clicked, sum(converted) AS converted,
        CAST(round(100.0 * count(*) FILTER (WHERE sent AND had_converted AND has_goal)
            / NULLIF(count(*) FILTER (WHERE sent AND has_goal), 0), 1) AS float) AS conversion_rate,
        sum(revenue) AS revenue
    FROM ({_FOLLOWED}) followed
    GROUP BY triggered_by ORDER BY converted DESC, executed DESC, rule
""")  # noqa: S608

_ANY_ACTION = sa.text("SELECT EXISTS (SELECT FROM actions WHERE created_at < :stop)")
_REJECTED = sa.text("SELECT count(*) FROM rejected_events WHERE received_at >= :start AND received_at < :stop")


def figures(conn: Connection, week: date, now: datetime) -> tuple[Figure, ...]:
    """Return every figure of the week that begins on the Sunday `week`, in the order of the catalogue."""
    this, before = (measure(conn, first, now) for first in (week, week - WEEK))
    return tuple(_figure(kind, this[kind.id], before[kind.id]) for kind in KINDS)


def measure(conn: Connection, week: date, now: datetime) -> dict[str, Value]:
    """Return the value of every kind of figure for the week that begins on the Sunday `week`."""
    span = _span(week)
    found: dict[str, Value] = dict.fromkeys(kind.id for kind in KINDS)
    active = conn.execute(_ACTIVITY, span).mappings().one()
    rejected = conn.scalar(_REJECTED, span)
    if active["recorded"] or rejected:
        found["rejected_events"] = rejected
    if active["recorded"]:
        found |= {name: value for name, value in active.items() if name != "recorded"}
        found["new_users"] = conn.scalar(_NEW_USERS, span)
    found |= _levels(conn, week, now)
    if conn.scalar(_ANY_ACTION, span):
        rows = by_type(conn, week)
        found |= {f"actions_{what}": sum(getattr(row, what) for row in rows) for what in _MOVES}
        found |= conn.execute(_OUTCOMES, span).mappings().one()
    return {name: _plain(name, value) for name, value in found.items()}


def by_type(conn: Connection, week: date) -> tuple[TypeRow, ...]:
    """Return what happened to the actions of each type in the week; types without any are left out."""
    return tuple(TypeRow(**row) for row in conn.execute(_BY_TYPE, _span(week)).mappings())


def by_rule(conn: Connection, week: date) -> tuple[RuleRow, ...]:
    """Return what was executed and what followed for each rule, most conversions first."""
    rows = conn.execute(_BY_RULE, _span(week)).mappings()
    whole = ("opened", "clicked", "converted")
    return tuple(
        RuleRow(**{**row, **{name: int(row[name]) for name in whole}, "revenue": _cents(row["revenue"])})
        for row in rows
    )


def _span(week: date) -> dict[str, object]:
    after = week + WEEK
    return {
        "first": week,
        "last": after - DAY,
        "after": after,
        "start": start_of(week),
        "stop": start_of(after),
    }


def _levels(conn: Connection, week: date, now: datetime) -> dict[str, Value]:
    span = _span(week)
    engagement = _pairs(conn, _ENGAGEMENT, span)
    churn = _pairs(conn, _CHURN_THEN, span)
    if not churn and week == newest_closed_week(now):
        churn = _pairs(conn, _CHURN_NOW, {})
    found: dict[str, Value] = {}
    for name, levels, counted in (("engagement", ENGAGEMENT, engagement), ("churn", CHURN, churn)):
        if counted:
            found |= {f"{name}_{level}": counted.get(level, 0) for level in levels}
    return found | dict(next(iter(conn.execute(_BECAME, span).mappings()), {}))


def _pairs(conn: Connection, statement: sa.TextClause, values: dict[str, object]) -> dict[str, int]:
    return {name: int(number) for name, number in conn.execute(statement, values)}


def _figure(kind: Kind, value: Value, before: Value) -> Figure:
    return Figure(
        id=kind.id,
        label=kind.label,
        section=kind.section,
        unit=kind.unit,
        value=value,
        before=before,
        change=_change(value, before),
        definition=kind.definition,
    )


def _change(value: Value, before: Value) -> Value:
    match value, before:
        case (None, _) | (_, None):
            return None
        case float(), float():
            return round(value - before, 1)
        case Decimal(), Decimal():
            return value - before
        case int(), int():
            return value - before
    raise TypeError(f"{value!r} and {before!r} are not of one unit")


def _plain(name: str, value: Value) -> Value:
    """Give a value the type of its unit; PostgreSQL sums integers to numeric."""
    if value is None or _UNITS[name] == "percent":
        return value
    return _cents(value) if _UNITS[name] == "money" else int(value)


def _cents(value: int | float | Decimal) -> Decimal:
    return Decimal(value).quantize(Decimal("0.01"))
