"""How many messages a user may get from all rules together: a day, a week, and on each channel.

A day is a UTC day, a week the last seven days. Where a cap bites, the most urgent rules win. Transactional messages,
alerts and tags count for no cap and know none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import HOLDOUT
from oracle_lib.storage.tables import actions

# What was handed to a channel, or may be any moment.
GONE_OUT = ("approved", "executing", "executed", "unknown")
# Proposals that still may reach, or have reached, the user.
ALIVE = ("pending", *GONE_OUT)
Channel = Literal["email", "dm", "push", "post"]
Span = Literal["day", "week"]
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Cap:
    """At most `most` messages a user and `span` (day or week), on one channel or on all together."""

    most: int
    span: Span
    channel: str | None = None

    @property
    def reason(self) -> str:
        """The word in `skips`."""
        name = "daily_cap" if self.span == "day" else "weekly_cap"
        return name if self.channel is None else f"channel_{name}"


def of(per_day: int, per_week: int | None, channels: Mapping[Channel, Mapping[Span, int]]) -> tuple[Cap, ...]:
    """Return the caps of an installation, those of single channels first."""
    made = [Cap(most, span, channel) for channel, spans in sorted(channels.items()) for span, most in spans.items()]
    made += [Cap(per_week, "week")] if per_week is not None else []
    return (*made, Cap(per_day, "day"))


def refuse(conn: Connection, caps: tuple[Cap, ...], now: datetime) -> None:
    """Refuse the candidates that are one too many, counting what was proposed before.

    Who is held out takes no place and is asked like everybody else.
    """
    for cap in caps:
        conn.execute(_over(cap, now))


def questions(asked: sa.FromClause, caps: tuple[Cap, ...]) -> Iterator[tuple[ColumnElement[bool], str]]:
    """Ask of one action that is about to be sent, by what went out before; only what a rule proposed is capped."""
    out = sa.and_(
        actions.c.user_id == asked.c.user_id,
        actions.c.id != asked.c.id,
        actions.c.status.in_(GONE_OUT),
        *_counts(actions),
    )
    for cap in caps:
        since = sa.func.date_trunc("day", sa.func.now(), "UTC") if cap.span == "day" else sa.func.now() - _WEEK
        sent = sa.select(sa.func.count()).where(out, actions.c.first_attempt_at >= since, *_on(actions, cap))
        concerned = sa.and_(asked.c.rule_id.is_not(None), *_counts(asked), *_on(asked, cap))
        yield sa.and_(concerned, sent.scalar_subquery() >= cap.most), cap.reason


def _over(cap: Cap, now: datetime) -> sa.Update:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before = (
        sa.select(sa.func.count())
        .where(
            actions.c.user_id == candidates.c.user_id,
            actions.c.created_at >= (midnight if cap.span == "day" else now - _WEEK),
            actions.c.status.in_(ALIVE),
            actions.c.rule_id.is_not(None),
            # A pending proposal of the same rule makes room for this one.
            sa.not_(sa.and_(actions.c.status == "pending", actions.c.rule_id == candidates.c.rule_id)),
            *_counts(actions),
            *_on(actions, cap),
        )
        .scalar_subquery()
    )
    takes = sa.cast(candidates.c.arm.is_distinct_from(HOLDOUT), sa.Integer)
    ahead = sa.func.coalesce(
        sa.func.sum(takes).over(
            partition_by=candidates.c.user_id,
            order_by=[candidates.c.priority.desc(), candidates.c.rule_id],
            rows=(None, -1),
        ),
        0,
    )
    ranked = (
        sa.select(candidates.c.rule_id, candidates.c.user_id, (ahead + before).label("before"))
        .where(candidates.c.reason.is_(None), *_counts(candidates), *_on(candidates, cap))
        .subquery()
    )
    return (
        sa.update(candidates)
        .where(
            candidates.c.rule_id == ranked.c.rule_id,
            candidates.c.user_id == ranked.c.user_id,
            ranked.c.before >= cap.most,
        )
        .values(reason=cap.reason)
    )


def _counts(asked: sa.FromClause) -> tuple[ColumnElement[bool], ...]:
    return (asked.c.message_class == "marketing", asked.c.action_type.not_in(["alert", "tag"]))


def _on(asked: sa.FromClause, cap: Cap) -> tuple[ColumnElement[bool], ...]:
    return () if cap.channel is None else (asked.c.action_type == cap.channel,)
