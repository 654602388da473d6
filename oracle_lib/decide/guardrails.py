"""What may be sent to whom: asked of many candidates when proposing, and of one action again before it is sent.

Both times the same words and the same questions; only what counts differs: proposals when proposing, deliveries when
sending. Every no becomes a row in `skips`. Reasons, in the order they are asked:

    unknown_user   there is no such user              test_user     a test user of a production installation
    environment    not production: nobody real is     suppressed    bounced, complained, unsubscribed or paused
                   reached                            no_consent    the user did not agree to this channel
    topic_refused  the user wants no more of that     cooldown      the rule fired for the user too short ago
    max_per_user   the rule has done its share for    fewer         the user asked for one message a week at most, and
                   the user                                         has had it (`caps.py`)
    channel_daily_cap, channel_weekly_cap, daily_cap, weekly_cap    enough from all rules together (`caps.py`)
    holdout        the user's arm of the rule's experiment gets nothing (`experiments.py`); when proposing only

What is about to be sent may also have to wait, and is then asked again:

    stopped        sending is stopped, at all or on this channel        quiet_hours    it is night where the user is
    rule_paused    its rule's messages bounced or were complained about, and it was paused for that
    hourly_cap, slow_start    too many for this hour, on the channel or of the rule (`execute/pacing.py`)

A transactional message needs no consent, counts for no cap, and goes out at night and to those who unsubscribed or
paused. An alert goes to the team: it is only asked about tests and stops. What a person wrote by hand is theirs to
time: what the user said holds, and so do stops; the house's caps, cooldown and quiet hours do not.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import caps, experiments
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.caps import ALIVE, GONE_OUT, Cap
from oracle_lib.decide.quiet_hours import QuietHours
from oracle_lib.settings import Settings
from oracle_lib.storage.tables import actions, refused_topics, rules, sending_stops, skips, suppressions, users

# What rings or lights up where the user is.
_WAKES = ("email", "dm", "push")
# Who pauses a rule whose messages bounce or are complained about (`execute/reputation.py`).
REPUTATION = "reputation"
# How long an action waits before it is asked again whether sending is still stopped.
_LOOK_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True)
class Limits:
    """The installation's limits; `of` reads them from settings. `time_zone` is that of users who have none."""

    environment: str
    consent_by_default: bool
    caps: tuple[Cap, ...]
    quiet: QuietHours | None = None
    time_zone: str = "UTC"

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Take the limits out of the settings."""
        return cls(
            environment=settings.environment,
            consent_by_default=settings.consent_by_default,
            caps=caps.of(
                settings.messages_per_user_per_day, settings.messages_per_user_per_week, settings.channel_caps
            ),
            quiet=QuietHours.read(settings.quiet_hours),
            time_zone=settings.time_zone,
        )


@dataclass(frozen=True)
class No:
    """A guardrail's no. `until`: the action waits and is asked again then; None: it is not sent at all."""

    reason: str
    until: datetime | None


def check_candidates(conn: Connection, *, now: datetime, limits: Limits) -> dict[str, int]:
    """Ask for every candidate; those refused leave `candidates` and stand in `skips`. Return how many by reason."""
    ask_of_user(conn, now=now, limits=limits)
    experiments.draw(conn)
    caps.refuse(conn, limits.caps, now)
    experiments.expose(conn, now)
    return _skip(conn, now)


def ask_of_user(conn: Connection, *, now: datetime, limits: Limits) -> None:
    """Write beside every candidate what its user, or what the rule did for them before, says against it."""
    messages = candidates.c.action_type != "tag"
    verdict = sa.case(
        *_person(candidates, limits, sa.literal(now, sa.DateTime(timezone=True)), reaches_people=False),
        *_proposed_before(candidates, now),
        else_=sa.null(),
    )
    conn.execute(sa.update(candidates).where(messages).values(reason=verdict))


def lock_users(conn: Connection, action_ids: Collection[UUID]) -> None:
    """Hold the users of some actions until the transaction ends, in an order that everybody keeps.

    So two executors cannot both take the last place of a user's day.
    """
    conn.execute(_LOCK_USERS, {"ids": list(action_ids)})


def check_actions(
    conn: Connection, action_ids: Collection[UUID], *, limits: Limits, reaches_people: bool
) -> dict[UUID, No]:
    """Ask again for actions that are about to be sent; return the noes. No two may be of the same user.

    Their users must be held (`lock_users`). `reaches_people` is false for a channel that keeps messages inside the
    house. Time is the database's.
    """
    if not action_ids:
        return {}
    rows = conn.execute(_asked_again(limits, reaches_people), {"ids": list(action_ids)})
    return {row.id: No(row.reason, None) if row.reason else No(row.wait, row.until) for row in rows}


def stopped(action_type: ColumnElement[str]) -> ColumnElement[bool]:
    """Say whether sending is stopped, at all or for an action type."""
    return sa.exists().where(sending_stops.c.scope.in_([sa.literal("all"), action_type]))


_ASKED = actions.c.id == sa.any_(sa.bindparam("ids", type_=pg.ARRAY(sa.Uuid)))
_users = (
    sa.select(sa.func.hashtextextended("oracle:user:" + actions.c.user_id, 0).label("key"))
    .where(_ASKED)
    .distinct()
    .order_by("key")
    .subquery()
)
_LOCK_USERS = sa.select(sa.func.pg_advisory_xact_lock(_users.c.key))


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
            actions.c.topic,
            rules.c.cooldown,
            rules.c.max_per_user,
            rules.c.paused_by,
        )
        .join_from(actions, rules, rules.c.id == actions.c.rule_id, isouter=True)
        .where(_ASKED)
        .subquery("asked")
    )
    verdict = sa.case(
        *_person(about, limits, sa.func.now(), reaches_people=reaches_people),
        *_sent_before(about, limits),
        else_=sa.null(),
    )
    night = _quiet_until(about, limits)
    stop = stopped(about.c.action_type)
    harmful = about.c.paused_by == REPUTATION
    wait = sa.case((stop, "stopped"), (harmful, "rule_paused"), (night.is_not(None), "quiet_hours"), else_=sa.null())
    until = sa.case((sa.or_(stop, harmful), sa.func.now() + _LOOK_AGAIN), else_=night)
    answers = sa.select(about.c.id, verdict.label("reason"), wait.label("wait"), until.label("until")).subquery()
    return sa.select(answers).where(sa.or_(answers.c.reason.is_not(None), answers.c.wait.is_not(None)))


def _quiet_until(asked: sa.FromClause, limits: Limits) -> ColumnElement:
    """Return when the user's night is over, null by day and for what may go out at night."""
    if limits.quiet is None:
        return sa.cast(sa.null(), sa.DateTime(timezone=True))
    theirs = sa.select(users.c.time_zone).where(users.c.id == asked.c.user_id).scalar_subquery()
    ends = limits.quiet.ends(sa.func.now(), sa.func.coalesce(theirs, limits.time_zone))
    asleep = sa.and_(
        asked.c.rule_id.is_not(None), asked.c.message_class == "marketing", asked.c.action_type.in_(_WAKES)
    )
    return sa.case((asleep, ends), else_=sa.null())


_Case = tuple[ColumnElement[bool], str]


def _person(asked: sa.FromClause, limits: Limits, now: ColumnElement, *, reaches_people: bool) -> list[_Case]:
    """Ask whether this person may be written to at all."""
    person = sa.exists().where(users.c.id == asked.c.user_id)
    tester = sa.exists().where(users.c.id == asked.c.user_id, users.c.is_test)
    agreed = sa.func.coalesce(
        sa.select(sa.cast(users.c.consent[asked.c.action_type].as_string(), sa.Boolean))
        .where(users.c.id == asked.c.user_id)
        .scalar_subquery(),
        limits.consent_by_default,
    )
    marketing = asked.c.message_class == "marketing"
    suppressed = sa.exists().where(
        suppressions.c.user_id == asked.c.user_id,
        suppressions.c.channel.in_([asked.c.action_type, "all"]),
        sa.or_(suppressions.c.until.is_(None), suppressions.c.until > now),
        sa.or_(marketing, suppressions.c.reason.not_in(["unsubscribed", "paused"])),
    )
    topic_refused = sa.exists().where(
        refused_topics.c.user_id == asked.c.user_id,
        refused_topics.c.channel == asked.c.action_type,
        refused_topics.c.topic == asked.c.topic,
    )
    to_user = asked.c.action_type != "alert"
    production = limits.environment == "production"
    return [
        (sa.not_(person), "unknown_user"),
        (sa.and_(tester, sa.literal(production)), "test_user"),
        (sa.and_(sa.not_(tester), sa.literal(reaches_people and not production)), "environment"),
        (sa.and_(to_user, suppressed), "suppressed"),
        (sa.and_(to_user, marketing, sa.not_(agreed)), "no_consent"),
        (sa.and_(marketing, topic_refused), "topic_refused"),
    ]


def person_refused(asked: sa.FromClause, limits: Limits) -> ColumnElement[str]:
    """Return why this person may not be written to at all, null where they may; for a dry run (`past_limits.py`)."""
    return sa.case(*_person(asked, limits, sa.func.now(), reaches_people=False), else_=sa.null())


def _proposed_before(asked: sa.FromClause, now: datetime) -> list[_Case]:
    """Ask what the rule has proposed to the user before."""
    same = sa.and_(actions.c.rule_id == asked.c.rule_id, actions.c.user_id == asked.c.user_id)
    lately = sa.exists().where(same, actions.c.created_at > now - _hours(asked.c.cooldown))
    counted = sa.select(sa.func.count()).where(same, actions.c.status.in_(ALIVE), actions.c.status != "pending")
    return [
        (lately, "cooldown"),
        (counted.scalar_subquery() >= asked.c.max_per_user, "max_per_user"),
    ]


def _sent_before(asked: sa.FromClause, limits: Limits) -> list[_Case]:
    """Ask what has gone out to the user before; `first_attempt_at` is when an action passed this very question."""
    out = sa.and_(
        actions.c.user_id == asked.c.user_id,
        actions.c.id != asked.c.id,
        actions.c.status.in_(GONE_OUT),
        actions.c.first_attempt_at.is_not(None),
    )
    same = sa.and_(out, actions.c.rule_id == asked.c.rule_id)
    lately = sa.exists().where(same, actions.c.first_attempt_at > sa.func.now() - _hours(asked.c.cooldown))
    of_rule = sa.select(sa.func.count()).where(same).scalar_subquery()
    return [
        (lately, "cooldown"),
        (of_rule >= asked.c.max_per_user, "max_per_user"),
        *caps.questions(asked, limits.caps),
    ]


def _hours(hours: ColumnElement[int]) -> ColumnElement:
    return sa.func.make_interval(0, 0, 0, 0, hours)


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
