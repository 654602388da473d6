"""What holdouts measure is what the academy knows to be true, and the next best action makes use of it.

People's own doings are the academy's hidden future, the same in every trial; what changes from trial to trial is who is
held out and who lets a message move them. The truth of a rule is by how much its message raises the goal of those who
would not have reached it anyway.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.clock import DAY, start_of
from oracle_lib.decide import decider, definition, next_best, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS
from oracle_lib.decide.guardrails import Limits
from oracle_lib.learn import experiments as readouts
from oracle_lib.learn.effects import TOO_FEW
from oracle_lib.learn.experiments import ArmEffects
from oracle_lib.observe.ingest import ingest
from oracle_lib.settings import Settings
from oracle_lib.simulate import LIFTS, Academy, Delivery, load, react
from oracle_lib.simulate.loading import DOOR
from oracle_lib.simulate.people import CHANNELS
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, events, experiments, rule_effects, rules, users
from tests.conftest import FULL, fresh_database
from tests.world import run_stages

USERS, LAST = 3000, date(2026, 3, 1)
TRIALS = 200 if FULL else 10
TODAY = LAST + DAY
NOW = start_of(TODAY) + timedelta(hours=2)
AFTERWARDS = NOW + timedelta(days=16)
NOBODY_REFUSED = Limits("production", consent_by_default=True, caps=())
# Template -> the channel of its rule. The last brings people to log in, which is not its goal: it has no effect.
RULES = {
    "welcome": "email",
    "keep_going": "dm",
    "stuck": "dm",
    "win_back": "email",
    "upsell_momentum": "email",
    "hello": "dm",
}
EFFECTLESS = "hello"


# What one trial read out for each template, and the truth.
Trial = dict[str, tuple[ArmEffects, float]]


@dataclass
class World:
    """An academy in a database, its hidden future in the events, and who reaches each goal without any message."""

    store: Store
    academy: Academy
    anyway: Mapping[str, set[str]]

    def warmth(self, user_id: str, channel: str) -> float:
        place = self.places[user_id]
        return float(self.academy.truth.response[place, CHANNELS.index(channel)])

    def __post_init__(self) -> None:
        self.places = {name: place for place, name in enumerate(self.academy.truth.user_id.tolist())}


@pytest.fixture(scope="module")
def world(server: EmbeddedServer) -> Iterator[World]:
    academy = Academy.make(USERS, 60, LAST, seed=5)
    with fresh_database(server) as url:
        store = Store(url)
        load(store, academy, now=NOW)
        with store.transaction() as conn:
            conn.execute(sa.text("UPDATE users SET baseline_at = NULL"))
            conn.execute(
                sa.text("UPDATE users SET traits = traits || jsonb_build_object('group', hashtext(id) & 1023)")
            )
            run_stages(conn, TODAY, everyone=True)
            future = academy.events(TODAY, TODAY + timedelta(days=16), batch=4_000)
            for bodies in future:
                ingest(conn, bodies, door=DOOR, received_at=AFTERWARDS)
            anyway = {template: _reach(conn, *_goal(template)) for template in RULES}
        yield World(store, academy, anyway)
        store.close()


def _goal(template: str) -> tuple[str, int]:
    lift = LIFTS.get(template)
    return (lift.event, int(lift.days)) if lift else ("quiz_pass", 3)


def _reach(conn: Connection, event: str, days: int) -> set[str]:
    until = NOW + timedelta(days=days)
    inside = sa.and_(events.c.created_at > NOW, events.c.created_at <= until, events.c.event == event)
    return set(conn.scalars(sa.select(events.c.user_id).where(inside)))


def _publish(conn: Connection, spans: Mapping[str, tuple[int, int]]) -> None:
    """One rule for each template, for the users whose group lies in its span; half of them are held out."""
    for template, (low, high) in spans.items():
        event, days = _goal(template)
        body = {
            "name": template,
            "trigger": "time_based",
            "conditions": {
                "all": [
                    {"days_since": {"event": "activity", "op": ">=", "value": 0}},
                    {"trait": "group", "op": ">=", "value": low},
                    {"trait": "group", "op": "<", "value": high},
                ]
            },
            "actionType": RULES[template],
            "actionData": {"template": template, "subject": "Hi", "content": "Hi"},
            "goal": {"event": event, "within_days": days},
            "holdout": 50,
        }
        rules_engine.create(conn, definition.read(body), actor="anna", now=NOW)


def trial(world: World, conn: Connection, seed: int) -> Trial:
    """Live through one experiment a rule, each on a sixth of the users."""
    edges = [round(1024 * place / len(RULES)) for place in range(len(RULES) + 1)]
    _publish(conn, dict(zip(RULES, pairwise(edges), strict=True)))
    # Chance, but the same at every run of this test.
    for rule_id, name in conn.execute(sa.select(rules.c.id, rules.c.name)).all():
        fixed = sa.update(experiments).where(experiments.c.rule_id == rule_id)
        conn.execute(fixed.values(id=uuid5(NAMESPACE_OID, f"{seed} {name}")))
    decider.propose(conn, as_of=TODAY, now=NOW, triggers=ALL_TRIGGERS, everyone=True, limits=NOBODY_REFUSED)
    sent = sa.select(actions.c.user_id, actions.c.action_type, actions.c.template).order_by(actions.c.user_id)
    deliveries = [
        Delivery(uuid5(NAMESPACE_OID, f"{seed} {user} {template}"), user, channel, template, NOW)
        for user, channel, template in conn.execute(sent)
    ]
    bodies = [reaction.body() for reaction in react(world.academy, deliveries, seed=seed)]
    ingest(conn, bodies, door=DOOR, received_at=AFTERWARDS)
    readouts.measure(conn, now=AFTERWARDS, settings=Settings())
    assigned = conn.execute(
        sa.text(
            "SELECT r.name, a.user_id FROM assignments a JOIN experiments e ON e.id = a.experiment_id"
            " JOIN rules r ON r.id = e.rule_id"
        )
    ).all()
    truths: dict[str, list[float]] = {template: [] for template in RULES}
    for template, user_id in assigned:
        moved = 0.0
        if template in LIFTS and user_id not in world.anyway[template]:
            moved = min(LIFTS[template].share * world.warmth(user_id, RULES[template]), 1.0)
        truths[template].append(moved)
    read = {one.rule_name: one.effects[0] for one in readouts.listing(conn, now=AFTERWARDS)}
    return {template: (read[template], float(np.mean(truths[template]))) for template in RULES}


@pytest.fixture(scope="module")
def trials(world: World) -> list[Trial]:
    found = []
    for seed in range(TRIALS):
        with world.store.engine.connect() as conn:
            found.append(trial(world, conn, seed))
            conn.rollback()
    return found


def test_the_measured_uplift_of_a_rule_covers_the_known_truth(
    trials: list[dict[str, tuple[ArmEffects, float]]],
) -> None:
    read = [one[template] for one in trials for template in LIFTS]
    assert all(effect.goal.verdict != TOO_FEW and truth > 0 for effect, truth in read)
    covered = np.mean([effect.goal.interval.lower <= truth <= effect.goal.interval.upper for effect, truth in read])
    # 93 % of what 200 trials show; four standard deviations below 95 % of the few that are lived through every time.
    assert covered >= (0.93 if FULL else 0.95 - 4 * (0.95 * 0.05 / len(read)) ** 0.5)
    missed = np.mean([effect.goal.difference - truth for effect, truth in read])
    assert abs(missed) < 4 * np.mean([effect.goal.standard_error for effect, _ in read]) / len(read) ** 0.5


def test_a_rule_without_an_effect_is_seldom_called_effective(trials: list[Trial]) -> None:
    called = [one[EFFECTLESS][0].verdict in {"better", "worse"} for one in trials]
    assert np.mean(called) <= 0.05 if FULL else sum(called) <= 1


# Whom each rule of the last test fits: some users one, most several. `keep_going` fits everybody.
SPANS = {
    "welcome": (0, 400),
    "keep_going": (0, 1024),
    "stuck": (200, 800),
    "win_back": (300, 1024),
    "upsell_momentum": (100, 900),
}


def test_the_next_best_action_does_more_good_than_chance_and_than_the_most_frequent(
    world: World, trials: list[Trial]
) -> None:
    with world.store.engine.connect() as conn:
        _publish(conn, SPANS)
        for rule_id, name in conn.execute(sa.select(rules.c.id, rules.c.name)).all():
            read = [one[name][0].goal for one in trials]
            measured = {
                "difference": np.mean([one.difference for one in read]),
                "standard_error": np.mean([one.standard_error for one in read]) / len(read) ** 0.5,
                "users": sum(one.users + one.control_users for one in read),
            }
            conn.execute(sa.insert(rule_effects).values(rule_id=rule_id, **measured))
        next_best.propose(conn, as_of=TODAY, now=NOW, limits=NOBODY_REFUSED)
        chosen = sa.select(actions.c.user_id, actions.c.template, users.c.traits["group"].as_integer())
        best = conn.execute(chosen.join(users, users.c.id == actions.c.user_id)).all()
        conn.rollback()

    def truth(user_id: str, template: str) -> float:
        return LIFTS[template].share * world.warmth(user_id, RULES[template])

    fits = {user: [name for name, (low, high) in SPANS.items() if low <= group < high] for user, _, group in best}
    gained = float(np.mean([truth(user, template) for user, template, _ in best]))
    by_chance = float(np.mean([np.mean([truth(user, name) for name in names]) for user, names in fits.items()]))
    most_frequent = float(np.mean([truth(user, "keep_going") for user in fits]))
    assert gained > 1.15 * by_chance
    assert gained > 1.15 * most_frequent
