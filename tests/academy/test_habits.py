"""Habits of the academy's people, as ORACLE sees them, against what was planted: right where it speaks."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from oracle_lib.analyze.classifier import PERSONAS
from oracle_lib.clock import start_of
from oracle_lib.observe.habits import DAY_PARTS
from oracle_lib.simulate import Academy, Delivery, load
from oracle_lib.simulate.people import CHANNELS
from oracle_lib.simulate.reactions import _READ_SHARE, react
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segments
from tests import world
from tests.academy.lived import LAST, Life

RIGHT = 0.8
TRIES = 25


def said(store: Store, field: str) -> dict[str, str]:
    """What a field says of each user of whom it says anything."""
    with store.transaction() as conn:
        column = segments.c[field]
        return {row[0]: row[1] for row in conn.execute(sa.select(segments.c.user_id, column).where(column.isnot(None)))}


def right(found: Mapping[str, str], truth: Mapping[str, str], what: str) -> float:
    """The share of users of whom something is said and it is true."""
    share = float(np.mean([truth[user] == value for user, value in found.items()]))
    print(f"{what}: said of {len(found)} of {len(truth)} users, right {share:.1%}")
    return share


def test_the_best_time_is_the_one_at_which_they_come(life: Life) -> None:
    truth = life.academy.truth
    parts = {part: range(*hours) for part, hours in DAY_PARTS.items()}
    usual = {
        str(user): next((part for part, hours in parts.items() if int(hour) in hours), "night")
        for user, hour in zip(truth.user_id, truth.usual_hour, strict=True)
    }
    found = said(life.store, "best_contact_time")
    assert len(found) > 300
    assert set(found.values()) == set(DAY_PARTS)
    assert right(found, usual, "best contact time") >= RIGHT


def test_a_persona_is_what_a_goal_says_and_unknown_without(life: Life) -> None:
    truth = life.academy.truth
    goals = {str(user): PERSONAS[str(goal)] for user, goal in zip(truth.user_id, truth.goal, strict=True)}
    found = said(life.store, "persona")
    assert right(found, goals, "persona") == 1.0
    assert len(found) / len(goals) == pytest.approx(0.7, abs=0.05)


def test_a_learning_style_is_the_form_of_most_of_what_they_learn_from(life: Life) -> None:
    truth = life.academy.truth
    styles = dict(zip(truth.user_id.tolist(), truth.style.tolist(), strict=True))
    found = said(life.store, "learning_style")
    assert len(found) > 400
    assert right(found, styles, "learning style") >= RIGHT
    shown = {user: style for user, style in found.items() if user not in _told(life)}
    assert len(shown) > 100
    assert right(shown, styles, "learning style, shown") >= RIGHT


def _told(life: Life) -> set[object]:
    return {row["id"] for row in life.academy.profiles() if "learningStyle" in str(row["traits"])}


def test_the_best_channel_is_the_one_they_answer_on(store: Store) -> None:
    academy = Academy.make(400, 90, LAST, seed=3)
    now = start_of(LAST) + timedelta(hours=12)
    load(store, academy, now=now)
    users = academy.truth.user_id.tolist()
    deliveries = [
        Delivery(UUID(int=place * 10_000 + number), user, channel, None, now - timedelta(days=80 - number, hours=2))
        for place, user in enumerate(users)
        for number, channel in enumerate(CHANNELS * TRIES)
    ]
    answers = [one.body() for one in react(academy, deliveries, seed=1) if one.at <= now]
    sent = [
        world.event(one.user_id, f"{one.channel}_sent", one.at, messageId=f"sent-{one.action_id}") for one in deliveries
    ]
    with store.transaction() as conn:
        for start in range(0, len(sent), 2_000):
            world.post(conn, sent[start : start + 2_000], now)
        for start in range(0, len(answers), 2_000):
            world.post(conn, answers[start : start + 2_000], now)
        world.run_stages(conn, LAST)
    rates = np.minimum(academy.truth.response * [_READ_SHARE[channel] for channel in CHANNELS], 0.95)
    truth = dict(zip(users, (CHANNELS[place] for place in rates.argmax(axis=1)), strict=True))
    found = said(store, "best_channel")
    assert len(found) > 100
    assert right(found, truth, "best channel") >= RIGHT
