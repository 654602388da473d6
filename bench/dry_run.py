"""How long a rule of time takes to be tried on thirty past days."""

from datetime import timedelta

from bench.academy import DAYS, LAST, NOW, SETTINGS, build, database, run_chain
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
        return [_tried(store, name, users, say) for name in _RULES]


def _tried(store: Store, name: str, users: int, say: Say) -> Result:
    def dry() -> None:
        with store.transaction() as conn:
            rule = next(one for one in rules_engine.listing(conn) if one.definition.name == name)
            dry_run.run(conn, rule.id, _FIRST, _LAST, now=NOW, settings=SETTINGS)

    seconds = median_seconds(say, f"a dry run of {name!r}, 30 days, {users:,} users", 3, dry)
    return Result(f"dry run of {name!r} over 30 days, {users:,} users", seconds, "s", 5.0)
