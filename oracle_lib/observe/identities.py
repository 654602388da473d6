"""One person under several ids: which user an id belongs to, and what happens when two turn out to be one.

The table `aliases` is flat: an id leads to a user in one step, and no user is an id of somebody else. A merge moves the
events that raw tables still hold to the user, has their days counted again under both ids, fills what the user's
profile does not know with what the other's knew, carries refusals of mail over, and removes the other profile. Daily
counts of days whose events are gone stay with the old id. The last merge of an id says where its later events go; what
was moved before stays where it is.

Who stores under an id that may be merged holds the lock shared, who merges holds it alone: no event is left behind.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.observe import profiles
from oracle_lib.storage.tables import aliases

Pair = tuple[str, str]

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('oracle:aliases', 0))")
_LOCK_SHARED = sa.text("SELECT pg_advisory_xact_lock_shared(hashtextextended('oracle:aliases', 0))")
_MOVE = sa.text(
    """
    WITH moved AS (
        UPDATE events e SET user_id = p ->> 1 FROM jsonb_array_elements(CAST(:pairs AS jsonb)) AS p
         WHERE e.user_id = p ->> 0 RETURNING p ->> 0 AS old_id, p ->> 1 AS new_id, CAST(e.created_at AS date) AS day
    )
    INSERT INTO dirty_user_days (user_id, day)
    SELECT DISTINCT id, day FROM moved, LATERAL (VALUES (old_id), (new_id)) AS both_ids (id)
    """
)
_KEEP_SUPPRESSED = sa.text(
    """
    INSERT INTO suppressions (user_id, channel, reason, at, until)
    SELECT DISTINCT ON (1, 2) p ->> 1, s.channel, s.reason, s.at, s.until
      FROM suppressions s JOIN jsonb_array_elements(CAST(:pairs AS jsonb)) AS p ON p ->> 0 = s.user_id
     ORDER BY 1, 2, s.reason IN ('unsubscribed', 'paused'), s.until DESC NULLS FIRST, s.at
        ON CONFLICT (user_id, channel) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at, until = EXCLUDED.until
     WHERE suppressions.until < coalesce(EXCLUDED.until, 'infinity')
        OR suppressions.reason = 'unsubscribed' AND EXCLUDED.reason NOT IN ('unsubscribed', 'paused')
    """
)
_KEEP_REFUSED_TOPICS = sa.text(
    """
    INSERT INTO refused_topics (user_id, channel, topic, at)
    SELECT p ->> 1, t.channel, t.topic, min(t.at)
      FROM refused_topics t JOIN jsonb_array_elements(CAST(:pairs AS jsonb)) AS p ON p ->> 0 = t.user_id
     GROUP BY 1, 2, 3
        ON CONFLICT DO NOTHING
    """
)
_KEEP_FEWER_WANTED = sa.text(
    """
    INSERT INTO fewer_wanted (user_id, channel, at)
    SELECT p ->> 1, f.channel, min(f.at)
      FROM fewer_wanted f JOIN jsonb_array_elements(CAST(:pairs AS jsonb)) AS p ON p ->> 0 = f.user_id
     GROUP BY 1, 2
        ON CONFLICT DO NOTHING
    """
)
_KEEP_REFUSALS = (_KEEP_SUPPRESSED, _KEEP_REFUSED_TOPICS, _KEEP_FEWER_WANTED)
_FORGET = sa.text("DELETE FROM users u USING jsonb_array_elements(CAST(:pairs AS jsonb)) AS p WHERE u.id = p ->> 0")
_RECOUNT = sa.text(
    """
    INSERT INTO dirty_users (stage, user_id)
    SELECT DISTINCT 'activity', id
      FROM jsonb_array_elements(CAST(:pairs AS jsonb)) AS p, jsonb_array_elements_text(p) AS both_ids (id)
    """
)


def lock(conn: Connection, pairs: Sequence[Pair]) -> None:
    """Wait for the right to store under any id, and to merge `pairs`, until the transaction ends. Take it first."""
    conn.execute(_LOCK if _targets(conn, pairs) else _LOCK_SHARED)


def resolve(conn: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return the user of each of `ids` that belongs to another one."""
    known = sa.select(aliases.c.previous_id, aliases.c.user_id).where(_among(aliases.c.previous_id, ids))
    return {row.previous_id: row.user_id for row in conn.execute(known)}


def merge(conn: Connection, pairs: Sequence[Pair], *, source: str, now: datetime) -> int:
    """Make each (previous id, user id) of `pairs` one person, in their order; return how many ids have a new user.

    An id that leads to the user already is left as it is, also where the pair names them the other way round.
    """
    targets = _targets(conn, pairs)
    if not targets:
        return 0
    made = insert(aliases)
    later = made.on_conflict_do_update(
        index_elements=["previous_id"], set_={"user_id": made.excluded.user_id, "made_at": made.excluded.made_at}
    )
    conn.execute(later, [{"previous_id": old, "user_id": new, "made_at": now} for old, new in sorted(targets.items())])
    encoded = {"pairs": msgspec.json.encode(sorted(targets.items())).decode()}
    _fold_profiles(conn, targets, source=source, now=now)
    for statement in (_MOVE, *_KEEP_REFUSALS, _FORGET, _RECOUNT):
        conn.execute(statement, encoded)
    return len(targets)


def _targets(conn: Connection, pairs: Sequence[Pair]) -> dict[str, str]:
    """Return, for each id that `pairs` lead to another user than before, the user it belongs to when all are made."""
    if not pairs:
        return {}
    ids = {one for pair in pairs for one in pair}
    asked = sa.select(aliases.c.previous_id, aliases.c.user_id)
    near = sa.or_(_among(aliases.c.previous_id, ids), _among(aliases.c.user_id, {old for old, _ in pairs}))
    before = {row.previous_id: row.user_id for row in conn.execute(asked.where(near))}
    after = dict(before)
    for old, user_id in pairs:
        new = after.get(user_id, user_id)
        if new == old or after.get(old) == new:
            continue
        if old in after.values():
            after |= {other: new for other, theirs in after.items() if theirs == old}
        after[old] = new
    return {old: new for old, new in after.items() if before.get(old) != new}


def _fold_profiles(conn: Connection, targets: dict[str, str], *, source: str, now: datetime) -> None:
    """Fill the users' profiles from those that go. Traits for which there is no room stay in `profile_changes` only."""
    known = profiles.find(conn, {*targets, *targets.values()})
    changes = [
        (new, profiles.blanks(known.get(new), known[old])) for old, new in sorted(targets.items()) if old in known
    ]
    profiles.put_all(conn, changes, source=source, now=now)


def _among(column: sa.Column, ids: Collection[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.bindparam(None, sorted(ids), type_=sa.ARRAY(sa.Text), unique=True))
