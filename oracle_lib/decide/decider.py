"""Rules become pending actions: at most one a cause, within everyone's limits, with the reason kept beside the words.

One run holds the lock `propose`, so that runs side by side see each other's proposals; `UNIQUE(rule_id, user_id,
cause)` would refuse a double even without it (guarantee G4). Nothing here sends anything: what is proposed waits for a
person, or for the policy of a rule that says `auto`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

import ibis
import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

from oracle_lib import settings
from oracle_lib.analyze import findings
from oracle_lib.decide import content, firing, guardrails, templates
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import Message, TagChange
from oracle_lib.decide.evidence import evidence
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.rules_engine import Rule, active
from oracle_lib.errors import Invalid
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.tables import (
    action_changes,
    actions,
    activity,
    courses,
    rules,
    segments,
    skips,
    user_tags,
    users,
)

ALL_TRIGGERS = frozenset({"event_based", "time_based", "segment_based"})
_AT_ONCE = 5000
_INSERT = sa.text(
    "INSERT INTO actions (rule_id, rule_version, user_id, cause, action_type, priority, message_class, template,"
    " subject, content, content_hash, triggered_by, trigger_data, created_at, updated_at, expires_at)"
    " SELECT * FROM jsonb_to_recordset(CAST(:drafts AS jsonb)) AS draft (rule_id uuid, rule_version int, user_id text,"
    " cause text, action_type text, priority int, message_class text, template text, subject text, content text,"
    " content_hash text, triggered_by text, trigger_data jsonb, created_at timestamptz, updated_at timestamptz,"
    " expires_at timestamptz) ON CONFLICT DO NOTHING RETURNING id, rule_id"
)
_PRIVATE = frozenset({"first_name", "last_name"})


@dataclass(frozen=True)
class ProposeReport:
    """What one run proposed. `skipped` counts each guardrail's no by reason, `by_rule` the proposals by rule name.

    `held` names the rules that were not asked, since they take the word of a model that is not to be trusted now.
    """

    as_of: date
    rules: int
    matched: int
    proposed: int
    superseded: int
    tagged: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    by_rule: Mapping[str, int] = field(default_factory=dict)
    held: tuple[str, ...] = ()


def propose(
    conn: Connection,
    *,
    as_of: date,
    now: datetime,
    triggers: Collection[str],
    everyone: bool,
    limits: Limits | None = None,
    expiry: timedelta | None = None,
) -> ProposeReport:
    """Turn the rules of `triggers` that fire into pending actions, as the current tables stand on `as_of`.

    `everyone` false looks at the users that wait in the queue `rules`, and consumes them. With `everyone` true the
    queue is emptied only if event rules are among `triggers`: otherwise what waits for them would be lost. `limits` and
    `expiry` (how long a proposal waits for an answer) default to the installation's settings.
    """
    lock(conn, "propose")
    among = _among(conn, triggers, everyone)
    untrusted = findings.held_targets(conn)
    standing = active(conn, triggers, now)
    chosen = [rule for rule in standing if not rule.definition.rests_on & untrusted]
    held = tuple(rule.definition.name for rule in standing if rule not in chosen)
    if not chosen:
        return ProposeReport(as_of, 0, 0, 0, 0, 0, held=held)
    matched = firing.fire(conn, chosen, as_of=as_of, now=now, among=among)
    skipped = Counter(guardrails.check_candidates(conn, now=now, limits=limits or Limits.of(settings.get())))
    tagged = _tag(conn, chosen, now)
    drafts, unfit = _drafts(conn, chosen, as_of, now, expiry or timedelta(hours=settings.get().action_expiry_hours))
    skipped["template"] += _skip_unfit(conn, unfit)
    made = _insert(conn, drafts, now)
    superseded = _supersede(conn, [action_id for action_id, _ in made], now)
    by_rule = Counter(rule_id for _, rule_id in made)
    _count(conn, by_rule, now)
    names = {rule.id: rule.definition.name for rule in chosen}
    return ProposeReport(
        as_of=as_of,
        rules=len(chosen),
        matched=matched,
        proposed=len(made),
        superseded=superseded,
        tagged=tagged,
        skipped={reason: count for reason, count in sorted(skipped.items()) if count},
        by_rule={names[rule_id]: count for rule_id, count in by_rule.items()},
        held=held,
    )


def _among(conn: Connection, triggers: Collection[str], everyone: bool) -> ibis.Table | None:
    if not everyone:
        return queue.take_users(conn, "rules").users
    if "event_based" in triggers:
        queue.take_users(conn, "rules")
    return None


def _tag(conn: Connection, chosen: Sequence[Rule], now: datetime) -> int:
    """Set and remove tags, the most urgent rule last so that it has the last word."""
    written = 0
    for rule in reversed(chosen):
        if not isinstance(rule.definition.action, TagChange):
            continue
        fired = sa.select(candidates.c.user_id).where(candidates.c.rule_id == rule.id)
        tag = rule.definition.action.tag
        if rule.definition.action.remove:
            gone = sa.delete(user_tags).where(user_tags.c.tag == tag, user_tags.c.user_id.in_(fired))
            changed = len(conn.execute(gone.returning(user_tags.c.user_id)).all())
        else:
            rows = fired.add_columns(
                sa.literal(tag), sa.literal(rule.definition.name), sa.literal(now, sa.DateTime(timezone=True))
            )
            made = insert(user_tags).from_select(["user_id", "tag", "set_by", "set_at"], rows)
            changed = len(conn.execute(made.on_conflict_do_nothing().returning(user_tags.c.user_id)).all())
        written += changed
        _count(conn, {rule.id: changed} if changed else {}, now)
    return written


def _facts(as_of: date, columns: Sequence[str]) -> sa.Select:
    """Select every candidate for a message with the facts of its user and what its conditions compared."""
    matched = sa.table(firing.MATCHED, sa.column("user_id"), *map(sa.column, columns))
    facts = {
        "first_name": users.c.first_name,
        "last_name": users.c.last_name,
        "course_title": courses.c.title,
        "progress": segments.c.progress,
        "lessons_done": activity.c.lessons_done,
        "lessons_left": activity.c.lessons_in_course - activity.c.lessons_done,
        "lessons_this_week": activity.c.lesson_complete_7d,
        "days_silent": sa.literal(as_of, sa.Date) - activity.c.last_active_on,
        "engagement_level": segments.c.engagement_level,
        "lifecycle": segments.c.lifecycle,
    }
    return (
        sa.select(
            candidates.c.rule_id,
            candidates.c.user_id,
            candidates.c.cause,
            candidates.c.fired,
            *(value.label(f"fact_{name}") for name, value in facts.items()),
            *(matched.c[name] for name in columns),
        )
        .join(matched, matched.c.user_id == candidates.c.user_id)
        .join(users, users.c.id == candidates.c.user_id)
        .outerjoin(segments, segments.c.user_id == candidates.c.user_id)
        .outerjoin(activity, activity.c.user_id == candidates.c.user_id)
        .outerjoin(courses, courses.c.id == activity.c.course_id)
        .where(candidates.c.action_type != "tag")
        .order_by(candidates.c.user_id, candidates.c.priority.desc(), candidates.c.rule_id)
    )


def _drafts(
    conn: Connection, chosen: Sequence[Rule], as_of: date, now: datetime, expiry: timedelta
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Write each candidate's message; return the rows of actions and the rows of skips for those that failed."""
    layout = Layout.of({name: rule.definition.conditions for rule, name in firing.column_of(chosen).items()})
    by_id = {rule.id: rule for rule in chosen}
    drafts: list[dict[str, object]] = []
    unfit: list[dict[str, object]] = []
    for row in conn.execute(_facts(as_of, layout.columns)).mappings():
        rule = by_id[row["rule_id"]]
        named = {"rule_id": rule.id, "rule_version": rule.version, "user_id": row["user_id"], "cause": row["cause"]}
        facts = {name: row[f"fact_{name}"] for name in templates.FACTS}
        why = {
            "fired": row["fired"],
            "matched": evidence(rule.definition.conditions, layout, dict(row), as_of),
            "facts": {name: value for name, value in facts.items() if name not in _PRIVATE and value is not None},
            "asOf": as_of.isoformat(),
        }
        try:
            message = _message(rule, row["user_id"], facts)
        except Invalid:
            unfit.append({**named, "at": now, "reason": "template"})
            continue
        drafts.append({**named, **message, "trigger_data": why, "created_at": now, "expires_at": now + expiry})
    return drafts, unfit


def _message(rule: Rule, user_id: str, facts: Mapping[str, object]) -> dict[str, object]:
    said = rule.definition
    assert isinstance(said.action, Message), "tags were dealt with before"  # noqa: S101
    subject = templates.subject(said.action.subject, facts) if said.action.subject else None
    text = templates.body(said.action.content, facts)
    sealed = content.payload(user_id=user_id, action_type=said.action_type, subject=subject, content=text)
    return {
        "action_type": said.action_type,
        "priority": said.priority,
        "message_class": said.message_class,
        "template": said.action.template,
        "subject": subject,
        "content": text,
        "content_hash": content.content_hash(sealed),
        "triggered_by": said.name,
    }


def _insert(conn: Connection, drafts: list[dict[str, object]], now: datetime) -> list[tuple[UUID, UUID]]:
    """Store the drafts, those of a known cause aside; return the id of each new action with its rule's.

    A few thousand go as one JSON parameter: one parameter a value was measured at ten times the cost.
    """
    inserted: list[tuple[UUID, UUID]] = []
    for first in range(0, len(drafts), _AT_ONCE):
        rows = msgspec.json.encode([{**draft, "updated_at": now} for draft in drafts[first : first + _AT_ONCE]])
        made = conn.execute(_INSERT, {"drafts": rows.decode()})
        inserted += [(action_id, rule_id) for action_id, rule_id in made]
    _keep(conn, [action_id for action_id, _ in inserted], "proposed", now)
    return inserted


def _keep(conn: Connection, ids: list[UUID], verb: str, now: datetime) -> None:
    moved = sa.select(
        actions.c.id,
        sa.literal(now, sa.DateTime(timezone=True)),
        sa.literal("oracle"),
        sa.literal(verb),
        sa.literal(None if verb == "proposed" else "pending", sa.Text),
        actions.c.status,
        actions.c.version,
    ).where(actions.c.id == sa.any_(sa.bindparam("ids", ids, type_=pg.ARRAY(sa.Uuid))))
    columns = ["action_id", "at", "actor", "verb", "old_status", "new_status", "version"]
    conn.execute(sa.insert(action_changes).from_select(columns, moved))


def _supersede(conn: Connection, fresh: list[UUID], now: datetime) -> int:
    """Put aside what the same rule had proposed to the same user and nobody has answered."""
    if not fresh:
        return 0
    newer = actions.alias("newer")
    old = (
        sa.update(actions)
        .where(
            newer.c.id == sa.any_(sa.bindparam("ids", fresh, type_=pg.ARRAY(sa.Uuid))),
            actions.c.rule_id == newer.c.rule_id,
            actions.c.user_id == newer.c.user_id,
            actions.c.id != newer.c.id,
            actions.c.status == "pending",
        )
        .values(status="superseded", updated_at=now)
        .returning(actions.c.id)
    )
    gone = list(conn.execute(old).scalars())
    _keep(conn, gone, "superseded", now)
    return len(gone)


def _skip_unfit(conn: Connection, unfit: list[dict[str, object]]) -> int:
    if unfit:
        conn.execute(insert(skips).on_conflict_do_nothing(), unfit)
    return len(unfit)


def _count(conn: Connection, fired: Mapping[UUID, int], now: datetime) -> None:
    """Add to the rules' counters; one statement for all of them."""
    if fired:
        times = sa.case(fired, value=rules.c.id)
        conn.execute(
            sa.update(rules)
            .where(rules.c.id.in_(list(fired)))
            .values(times_triggered=rules.c.times_triggered + times, last_triggered=now)
        )
