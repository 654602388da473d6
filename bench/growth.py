"""How the daily chain grows: four times the history, then four times the users."""

import statistics

from bench.academy import DAYS, LAST, build, database, run_chain, vacuum
from bench.result import Result, Say, quiet, timed
from oracle_lib.storage.embedded import EmbeddedServer

_TIMES, _RUNS = 4, 3


def measure(server: EmbeddedServer, *, users: int, events: int, say: Say) -> list[Result]:
    """Run the chain on three academies of their own; `users` and `events` are of the smallest."""
    a_day = events // DAYS
    base = _chain(server, users, a_day, a_day, say)
    history = _chain(server, users, a_day * _TIMES, a_day, say)
    people = _chain(server, users * _TIMES, a_day * _TIMES, a_day * _TIMES, say)
    return [
        Result(f"daily chain at {users:,} users / {a_day * DAYS:,} events", base, "s"),
        Result("growth of the daily chain: 4x the events, same users, same day", history / base, "ratio", 1.3),
        Result("growth of the daily chain: 4x the users", people / base, "ratio", 4.2),
    ]


def _chain(server: EmbeddedServer, users: int, a_day: int, newest: int, say: Say) -> float:
    """Return the median of three chains, each on a copy of the same academy: its newest day waits only once."""
    with database(server, "growth") as store:
        build(store, users=users, a_day=a_day, newest=newest, say=say)
        store.close()
        seconds = [_on_a_copy(server) for _ in range(_RUNS)]
    median = statistics.median(seconds)
    say(f"  the daily chain of {users:,} users with {a_day * DAYS:,} events: {median:.2f} s, median of {_RUNS}")
    return median


def _on_a_copy(server: EmbeddedServer) -> float:
    with database(server, "growth_copy", template="growth") as store:
        vacuum(store)
        with timed(quiet, "the chain") as watch:
            run_chain(store, LAST)
    return watch.seconds
