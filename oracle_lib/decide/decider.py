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
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

from oracle_lib import settings
from oracle_lib.analyze import findings
from oracle_lib.decide import drafting, firing, guardrails
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import TagChange
from oracle_lib.decide.guardrails import Limits
from oracle_lib.decide.rules_engine import Rule, active
from oracle_lib.storage import queue
from oracle_lib.storage.locks import lock
from oracle_lib.storage.publish import scanning
from oracle_lib.storage.tables import action_changes, actions, rules, user_tags

ALL_TRIGGERS = frozenset({"event_based", "time_based", "segment_based"})


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
    until = expiry or timedelta(hours=settings.get().action_expiry_hours)
    made, skipped["template"] = drafting.write(conn, chosen, as_of, now=now, expiry=until)
    superseded, by_rule = settle(conn, made, now)
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


def settle(conn: Connection, made: Sequence[tuple[UUID, UUID]], now: datetime) -> tuple[int, Mapping[UUID, int]]:
    """Write the history of fresh actions (each id with its rule's), and put aside what they take the place of.

    Return how many were put aside, and the number of fresh ones by rule.
    """
    fresh = [action_id for action_id, _ in made]
    _keep(conn, fresh, "proposed", now)
    by_rule = Counter(rule_id for _, rule_id in made)
    _count(conn, by_rule, now)
    return _supersede(conn, fresh, now), by_rule


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


def _keep(conn: Connection, ids: list[UUID], verb: str, now: datetime) -> None:
    moved = sa.select(
        actions.c.id,
        sa.literal(now, sa.DateTime(timezone=True)),
        sa.literal("oracle"),
        sa.literal(verb),
        sa.literal(None if verb == "proposed" else "pending", sa.Text),
        actions.c.status,
        actions.c.version,
    ).where(_one_of(actions.c.id, ids))
    columns = ["action_id", "at", "actor", "verb", "old_status", "new_status", "version"]
    conn.execute(sa.insert(action_changes).from_select(columns, moved))


def _one_of(action_id: ColumnElement[UUID], ids: list[UUID]) -> ColumnElement[bool]:
    """Say whether it is one of `ids`, which go as one parameter."""
    return action_id == sa.any_(sa.bindparam("ids", ids, type_=pg.ARRAY(sa.Uuid)))


def _supersede(conn: Connection, fresh: list[UUID], now: datetime) -> int:
    """Put aside what the same rule had proposed to the same user and nobody has answered."""
    if not fresh:
        return 0
    newer, earlier = actions.alias("newer"), actions.alias("earlier")
    # In the order in which everybody holds actions: two that hold some of the same never wait for each other.
    answered_by_none = (
        sa.select(earlier.c.id)
        .where(
            _one_of(newer.c.id, fresh),
            earlier.c.rule_id == newer.c.rule_id,
            earlier.c.user_id == newer.c.user_id,
            earlier.c.id != newer.c.id,
            earlier.c.status == "pending",
        )
        .order_by(earlier.c.id)
        .with_for_update(of=earlier)
    )
    # What this run wrote is in no statistics yet: the planner may think that there are no actions, and walk thousands
    # of them again for each of thousands.
    with scanning(conn):
        found = list(conn.execute(answered_by_none).scalars())
    conn.execute(sa.update(actions).where(_one_of(actions.c.id, found)).values(status="superseded", updated_at=now))
    _keep(conn, found, "superseded", now)
    return len(found)


def _count(conn: Connection, fired: Mapping[UUID, int], now: datetime) -> None:
    """Add to the rules' counters; one statement for all of them."""
    if fired:
        times = sa.case(fired, value=rules.c.id)
        conn.execute(
            sa.update(rules)
            .where(rules.c.id.in_(list(fired)))
            .values(times_triggered=rules.c.times_triggered + times, last_triggered=now)
        )
