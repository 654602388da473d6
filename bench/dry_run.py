"""How long a rule of time takes to be tried on thirty past days."""

from datetime import timedelta

import sqlalchemy as sa

from bench.academy import DAYS, LAST, NOW, SETTINGS, build, database, run_chain, vacuum
from bench.result import Result, Say, median_seconds
from oracle_lib.decide import dry_run, rules_engine
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store

_RULES = ("stuck", "win-back")
_FIRST, _LAST = LAST - timedelta(days=30), LAST - timedelta(days=1)


def measure(server: EmbeddedServer, *, users: int, events: int, say: Say) -> list[Result]:
    """Try two of the starter rules on the thirty days before the newest."""
    a_day = events // DAYS
    with database(server, "dry_run") as store:
        build(store, users=users, a_day=a_day, newest=a_day, say=say)
        run_chain(store, LAST)
        _age_changes(store)
        return [_tried(store, name, users, say) for name in _RULES]


def _age_changes(store: Store) -> None:
    """Let the levels be kept since before the days: otherwise they would have to be worked out, as after an import."""
    with store.transaction() as conn:
        conn.execute(sa.text("UPDATE segment_changes SET changed_at = :then"), {"then": NOW - timedelta(days=60)})
    vacuum(store)


def _tried(store: Store, name: str, users: int, say: Say) -> Result:
    def dry() -> None:
        with store.transaction() as conn:
            rule = next(one for one in rules_engine.listing(conn) if one.definition.name == name)
            dry_run.run(conn, rule.id, _FIRST, _LAST, now=NOW, settings=SETTINGS)

    seconds = median_seconds(say, f"a dry run of {name!r}, 30 days, {users:,} users", 3, dry)
    return Result(f"dry run of {name!r} over 30 days, {users:,} users", seconds, "s", 5.0)
