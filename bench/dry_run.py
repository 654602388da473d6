"""How long a rule of time takes to be tried on thirty past days, for whoever asks the API."""

import statistics
from datetime import timedelta

import msgspec
import sqlalchemy as sa

from bench.academy import DAYS, LAST, NOW, build, database, run_chain, vacuum
from bench.result import Result, Say
from bench.service import Service, api, send
from oracle_lib.decide import rules_engine
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store

_RULES = ("stuck", "win-back")
_DAYS = {"from": str(LAST - timedelta(days=30)), "to": str(LAST - timedelta(days=1))}
_TIMES = 5


def measure(server: EmbeddedServer, *, users: int, events: int, say: Say) -> list[Result]:
    """Try two of the starter rules on the thirty days before the newest."""
    a_day = events // DAYS
    with database(server, "dry_run") as store:
        build(store, users=users, a_day=a_day, newest=a_day, say=say)
        run_chain(store, LAST)
        _age_changes(store)
        return tried(store, users=users, say=say)


def tried(store: Store, *, users: int, say: Say) -> list[Result]:
    """Try them in an academy that is there."""
    with store.transaction() as conn:
        ids = {one.definition.name: one.id for one in rules_engine.listing(conn)}
    with api(store, NOW) as service:
        return [
            Result(
                f"dry run of {name!r} over 30 days, {users:,} users",
                _seconds(service, f"/api/oracle/rules/{ids[name]}/dry-run", name, say),
                "s",
                5.0,
            )
            for name in _RULES
        ]


def _age_changes(store: Store) -> None:
    """Let the levels be kept since before the days: otherwise they would have to be worked out, as after an import."""
    with store.transaction() as conn:
        conn.execute(sa.text("UPDATE segment_changes SET changed_at = :then"), {"then": NOW - timedelta(days=60)})
    vacuum(store)


def _seconds(service: Service, path: str, name: str, say: Say) -> float:
    request = service.request("POST", path, msgspec.json.encode(_DAYS))
    # The first one waits for the libraries that compile conditions.
    [first] = send(service, [request], clients=1).latencies
    seconds = send(service, [request] * _TIMES, clients=1).latencies
    median = statistics.median(seconds)
    say(f"  a dry run of {name!r}: {median:.2f} s, median of {_TIMES} ({min(seconds):.2f} to {max(seconds):.2f});")
    say(f"  the first: {first:.2f} s")
    return median
