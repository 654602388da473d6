"""What may be sent to whom: asked of many candidates when proposing, and of one action again before it is sent.

Both times the same words and the same questions; only what counts differs: proposals when proposing, deliveries when
sending. Every no becomes a row in `skips`. Reasons, in the order they are asked:

    unknown_user   there is no such user              test_user     a test user of a production installation
    environment    not production: nobody real is     suppressed    bounced, complained or unsubscribed
                   reached                            no_consent    the user did not agree to this channel
    cooldown       the rule fired for the user too    max_per_user  the rule has done its share for the user
                   short ago
    daily_cap      enough for one day from all rules together

A transactional message needs no consent and counts for no cap. An alert goes to the team: it is only asked about tests.
What a person wrote by hand is theirs to time: consent and suppression hold, caps and cooldown do not.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide.candidates import candidates
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, rules, skips, suppressions, users

# Proposals that still may reach, or have reached, the user.
_ALIVE = ("pending", "approved", "executing", "executed", "unknown")
# What was handed to a channel, or may be any moment.
_GONE_OUT = ("approved", "executing", "executed", "unknown")


@dataclass(frozen=True)
class Limits:
    """The installation's limits; `of` reads them from settings."""

    environment: str
    per_day: int
    consent_by_default: bool

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Take the limits out of the settings."""
        return cls(settings.environment, settings.messages_per_user_per_day, settings.consent_by_default)


def check_candidates(conn: Connection, *, now: datetime, limits: Limits) -> dict[str, int]:
    """Ask for every candidate; those refused leave `candidates` and stand in `skips`. Return how many by reason."""
    messages = candidates.c.action_type != "tag"
    verdict = sa.case(
        *_person(candidates, limits, reaches_people=False), *_proposed_before(candidates, now), else_=sa.null()
    )
    asked = sa.update(candidates).where(messages).values(reason=verdict)
    conn.execute(asked)
    _cap_the_day(conn, now, limits)
    return _skip(conn, now)


def check_action(conn: Connection, action_id: UUID, *, limits: Limits, reaches_people: bool) -> str | None:
    """Ask again for one action that is about to be sent; return the reason for a no, or None.

    Holds a lock on the user until the transaction ends, so that two executors cannot both take the last place of a day.
    `reaches_people` is false for a channel that keeps messages inside the house. Time is the database's.
    """
    conn.execute(_LOCK_USER, {"action_id": action_id})
    reason: str | None = conn.scalar(_asked_again(limits, reaches_people), {"action_id": action_id})
    return reason


_LOCK_USER = sa.select(
    sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("oracle:user:" + actions.c.user_id, 0))
).where(actions.c.id == sa.bindparam("action_id", type_=sa.Uuid))


@lru_cache(maxsize=16)
def _asked_again(limits: Limits, reaches_people: bool) -> sa.Select:
    """Compose the question once a process: an executor asks it for every message."""
    about = (
        sa.select(
            actions.c.id,
            actions.c.user_id,
            actions.c.rule_id,
            actions.c.action_type,
            actions.c.message_class,
            rules.c.cooldown,
            rules.c.max_per_user,
        )
        .join_from(actions, rules, rules.c.id == actions.c.rule_id, isouter=True)
        .where(actions.c.id == sa.bindparam("action_id", type_=sa.Uuid))
        .subquery("asked")
    )
    verdict = sa.case(
        *_person(about, limits, reaches_people=reaches_people), *_sent_before(about, limits), else_=sa.null()
    )
    return sa.select(verdict).select_from(about)


_Case = tuple[ColumnElement[bool], str]


def _person(asked: sa.FromClause, limits: Limits, *, reaches_people: bool) -> list[_Case]:
    """Ask whether this person may be written to at all."""
    person = sa.exists().where(users.c.id == asked.c.user_id)
    tester = sa.exists().where(users.c.id == asked.c.user_id, users.c.is_test)
    agreed = sa.func.coalesce(
        sa.select(sa.cast(users.c.consent[asked.c.action_type].as_string(), sa.Boolean))
        .where(users.c.id == asked.c.user_id)
        .scalar_subquery(),
        limits.consent_by_default,
    )
    suppressed = sa.exists().where(
        suppressions.c.user_id == asked.c.user_id, suppressions.c.channel.in_([asked.c.action_type, "all"])
    )
    to_user = asked.c.action_type != "alert"
    production = limits.environment == "production"
    return [
        (sa.not_(person), "unknown_user"),
        (sa.and_(tester, sa.literal(production)), "test_user"),
        (sa.and_(sa.not_(tester), sa.literal(reaches_people and not production)), "environment"),
        (sa.and_(to_user, suppressed), "suppressed"),
        (sa.and_(to_user, asked.c.message_class == "marketing", sa.not_(agreed)), "no_consent"),
    ]


def _proposed_before(asked: sa.FromClause, now: datetime) -> list[_Case]:
    """Ask what the rule has proposed to the user before."""
    same = sa.and_(actions.c.rule_id == asked.c.rule_id, actions.c.user_id == asked.c.user_id)
    lately = sa.exists().where(same, actions.c.created_at > now - _hours(asked.c.cooldown))
    counted = sa.select(sa.func.count()).where(same, actions.c.status.in_(_ALIVE), actions.c.status != "pending")
    return [
        (lately, "cooldown"),
        (counted.scalar_subquery() >= asked.c.max_per_user, "max_per_user"),
    ]


def _sent_before(asked: sa.FromClause, limits: Limits) -> list[_Case]:
    """Ask what has gone out to the user before; `first_attempt_at` is when an action passed this very question."""
    out = sa.and_(
        actions.c.user_id == asked.c.user_id,
        actions.c.id != asked.c.id,
        actions.c.status.in_(_GONE_OUT),
        actions.c.first_attempt_at.is_not(None),
    )
    same = sa.and_(out, actions.c.rule_id == asked.c.rule_id)
    lately = sa.exists().where(same, actions.c.first_attempt_at > sa.func.now() - _hours(asked.c.cooldown))
    of_rule = sa.select(sa.func.count()).where(same).scalar_subquery()
    today = actions.c.first_attempt_at >= sa.func.date_trunc("day", sa.func.now(), "UTC")
    of_day = sa.select(sa.func.count()).where(out, today, *_capped(actions)).scalar_subquery()
    return [
        (lately, "cooldown"),
        (of_rule >= asked.c.max_per_user, "max_per_user"),
        (sa.and_(asked.c.rule_id.is_not(None), *_capped(asked), of_day >= limits.per_day), "daily_cap"),
    ]


def _capped(asked: sa.FromClause) -> tuple[ColumnElement[bool], ...]:
    return (asked.c.message_class == "marketing", asked.c.action_type.not_in(["alert", "tag"]))


def _hours(hours: ColumnElement[int]) -> ColumnElement:
    return sa.func.make_interval(0, 0, 0, 0, hours)


def _cap_the_day(conn: Connection, now: datetime, limits: Limits) -> None:
    """Refuse what is one too many for a user's day; the most urgent rules come first."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today = (
        sa.select(sa.func.count())
        .where(
            actions.c.user_id == candidates.c.user_id,
            actions.c.created_at >= midnight,
            actions.c.status.in_(_ALIVE),
            actions.c.rule_id.is_not(None),
            # A pending proposal of the same rule makes room for this one.
            sa.not_(sa.and_(actions.c.status == "pending", actions.c.rule_id == candidates.c.rule_id)),
            *_capped(actions),
        )
        .scalar_subquery()
    )
    place = sa.func.row_number().over(
        partition_by=candidates.c.user_id, order_by=[candidates.c.priority.desc(), candidates.c.rule_id]
    )
    ranked = (
        sa.select(candidates.c.rule_id, candidates.c.user_id, (place + today).label("nth"))
        .where(candidates.c.reason.is_(None), *_capped(candidates))
        .subquery()
    )
    conn.execute(
        sa.update(candidates)
        .where(
            candidates.c.rule_id == ranked.c.rule_id,
            candidates.c.user_id == ranked.c.user_id,
            ranked.c.nth > limits.per_day,
        )
        .values(reason="daily_cap")
    )


def _skip(conn: Connection, now: datetime) -> dict[str, int]:
    columns = ["at", "rule_id", "rule_version", "user_id", "cause", "reason"]
    refused = sa.select(
        sa.literal(now, sa.DateTime(timezone=True)),
        candidates.c.rule_id,
        candidates.c.rule_version,
        candidates.c.user_id,
        candidates.c.cause,
        candidates.c.reason,
    ).where(candidates.c.reason.is_not(None))
    conn.execute(insert(skips).from_select(columns, refused).on_conflict_do_nothing())
    counted = (
        sa.select(candidates.c.reason, sa.func.count().label("times"))
        .where(candidates.c.reason.is_not(None))
        .group_by("reason")
    )
    reasons = {row.reason: row.times for row in conn.execute(counted)}
    conn.execute(sa.delete(candidates).where(candidates.c.reason.is_not(None)))
    return reasons
