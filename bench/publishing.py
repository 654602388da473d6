"""What publishing and matching cost over the least they could: only changes written, all rules in one scan."""

import statistics
from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection

from bench.academy import LAST, SETTINGS, Academy, vacuum
from bench.result import Result, Say, median_seconds, quiet, timed
from oracle_lib.analyze import classifier
from oracle_lib.analyze.features import state_expr
from oracle_lib.decide import matching
from oracle_lib.decide.conditions import Condition, parse
from oracle_lib.decide.reach import reach
from oracle_lib.observe.moments import OneDay
from oracle_lib.storage.publish import compiled, run
from oracle_lib.storage.relations import relation
from oracle_lib.storage.tables import activity, segments, user_days

_CHANGED = sa.text(
    "UPDATE activity SET last_active_on = last_active_on - 40, lesson_complete_7d = 0"
    " WHERE get_byte(sha256(user_id::bytea), 0) < 256 * 0.03"
)
# The first of either were seen to take up to a third longer than those that follow.
_WRITES = 5
_KINDS = ("login", "lesson_complete", "quiz_pass", "email_open")


def measure(academy: Academy, *, say: Say) -> list[Result]:
    """Classify everyone with 3 % changed, and match 20 rules; the academy's newest day has been worked out."""
    vacuum(academy.store)
    changed = statistics.median(_written(academy, _classify) for _ in range(_WRITES))
    say(f"  classify everyone, 3 % changed: {changed:.3f} s, median of {_WRITES}")
    upserted = statistics.median(_written(academy, _upsert) for _ in range(_WRITES))
    say(f"  upsert everyone: {upserted:.3f} s, median of {_WRITES}")
    counted = median_seconds(say, "counts of a tree of ten parts", 3, lambda: _counted(academy))
    twenty = median_seconds(say, "20 rules over everyone", 3, lambda: _matched(academy))
    plain = median_seconds(say, "one plain scan of the same columns", 3, lambda: _scanned(academy))
    return [
        Result("upserting everyone", upserted, "s"),
        Result("classify everyone, 3 % changed / upserting everyone", changed / upserted, "ratio", 0.3),
        Result("counts of a tree of ten parts, everyone", counted, "s", 1.0),
        Result("one plain scan of what 20 rules read", plain, "s"),
        Result("20 rules, everyone / one plain scan of the same columns", twenty / plain, "ratio", 1.5),
    ]


def _written(academy: Academy, write: Callable[[Connection], object]) -> float:
    """Let 3 % of users be silent for long, and return the seconds that writing everybody's segment takes then."""
    with academy.store.engine.connect() as conn:
        conn.execute(_CHANGED)
        with timed(quiet, "write") as watch:
            write(conn)
        conn.rollback()
    return watch.seconds


def _classify(conn: Connection) -> None:
    classifier.classify(conn, LAST, settings=SETTINGS, everyone=True)


def _upsert(conn: Connection) -> None:
    """Work out the same rows and write every one of them."""
    rows = classifier.segment_expr(state_expr(OneDay(LAST), current=True), SETTINGS).drop("as_of")
    names = ", ".join(rows.columns)
    new = ", ".join(f"{name} = excluded.{name}" for name in rows.columns if name != "user_id")
    upsert = f"ON CONFLICT (user_id) DO UPDATE SET {new}, updated_at = now()"
    run(conn, f"INSERT INTO segments ({names}) {compiled(rows)} {upsert}")


def _rules() -> Mapping[str, Condition]:
    """Return 20 conditions over segment fields, counts in windows and days since."""
    trees = [
        {
            "all": [
                {"segment": "churnRisk", "op": ">=", "value": 5 * number},
                {"event": _KINDS[number % 4], "within_days": 7 * (1 + number % 3), "count": {"op": ">=", "value": 2}},
                {"days_since": {"event": "activity", "op": "<=", "value": number + 1}},
            ]
        }
        for number in range(20)
    ]
    return {f"rule_{number}": parse(tree) for number, tree in enumerate(trees)}


def _matched(academy: Academy) -> None:
    with academy.store.transaction() as conn:
        _count(conn, compiled(matching.matches(_rules(), LAST, standing=True)))


def _counted(academy: Academy) -> None:
    """Count the users of each part of a tree, as the builder shows them."""
    leaves = [
        {"segment": "churnRisk", "op": ">=", "value": 60},
        {"event": "login", "within_days": 7},
        {"event": "lesson_complete", "within_days": 30, "count": {"op": ">=", "value": 3}},
        {"days_since": {"event": "activity", "op": ">=", "value": 3}},
        {"segment": "lifecycle", "op": "in", "value": ["active", "engaged"]},
        {"sum": {"of": "revenue", "op": ">=", "value": 50}, "within_days": 30},
    ]
    tree = parse({"all": [leaves[0], leaves[1], {"any": leaves[2:5]}, {"not": leaves[5]}, {"tag": "vip"}]})
    with academy.store.transaction() as conn:
        reach(conn, tree, LAST)


def _scanned(academy: Academy) -> None:
    """Read the same columns of the same tables once, aggregated a user, without any rule."""
    d, a, s = relation(user_days), relation(activity), relation(segments)
    summed = d.group_by("user_id").aggregate(**{kind: d[kind].sum() for kind in _KINDS})
    wide = s.select("user_id", "churn_risk").left_join(a.select("user_id", "last_active_on"), "user_id")
    with academy.store.transaction() as conn:
        _count(conn, compiled(wide.drop("user_id_right").left_join(summed, "user_id").drop("user_id_right")))


def _count(conn: Connection, sql: str) -> int:
    # Every column is worked out: a bare count would let the planner leave them away.
    return int(run(conn, f"SELECT count(row) FROM ({sql}) AS row").scalar_one())
