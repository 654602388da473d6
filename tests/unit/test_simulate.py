"""The simulated academy: the same from the same seed, honest about its truth, and through the real door."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.errors import Invalid
from oracle_lib.simulate import LIFTS, Academy, Delivery, Outlook, delivered, load, react, respond
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, courses, events, lessons, rejected_events, users

END = date(2026, 3, 3)
SEED = 7


@pytest.fixture(scope="module")
def academy() -> Academy:
    return Academy.make(2_000, 90, END, SEED)


def bodies(academy: Academy, *span: date) -> list[dict[str, object]]:
    return [json.loads(body) for body in chain.from_iterable(academy.events(*span))]


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the chance that a positive has the higher score; ties count half."""
    values, place = np.unique(score, return_inverse=True)
    ups = np.bincount(place[positive], minlength=len(values))
    downs = np.bincount(place[~positive], minlength=len(values))
    return float((ups * (np.cumsum(downs) - downs / 2)).sum() / (ups.sum() * downs.sum()))


def deliveries(academy: Academy, count: int, template: str, at: datetime, channel: str = "email") -> list[Delivery]:
    names = academy.truth.user_id.tolist()
    return [Delivery(UUID(int=n), names[n % len(names)], channel, template, at) for n in range(count)]


def test_the_same_arguments_give_the_same_bytes() -> None:
    one, same, other = (list(Academy.make(60, 30, END, seed).events()) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_an_academy_needs_people_and_days() -> None:
    with pytest.raises(Invalid):
        Academy.make(0, 90, END, SEED)


def test_people_leave_sixty_to_a_hundred_events_each_in_order_and_none_of_the_future(academy: Academy) -> None:
    found = bodies(academy)
    assert 60 <= len(found) / academy.users <= 100
    moments = [one["timestamp"] for one in found]
    assert moments == sorted(moments)
    assert moments[-1] <= "2026-03-03T23:59:59Z"
    assert len({one["messageId"] for one in found}) == len(found) == academy.count()
    assert len({one["event"] for one in found}) >= 20


def test_days_put_together_are_the_whole(academy: Academy) -> None:
    middle = date(2026, 1, 15)
    halves = bodies(academy, academy.start - timedelta(days=1), middle) + bodies(
        academy, middle + timedelta(days=1), END
    )
    assert halves == bodies(academy)


def test_nobody_acts_before_joining(academy: Academy) -> None:
    joined = {row["id"]: row["joined_at"] for row in academy.profiles()}
    assert all(datetime.fromisoformat(str(one["timestamp"])) >= joined[one["userId"]] for one in bodies(academy))


@pytest.mark.parametrize("day", [date(2026, 1, 17), END])
def test_recency_tells_who_leaves_but_not_for_sure(academy: Academy, day: date) -> None:
    outlook = academy.outlook(day)
    silent_days = (np.datetime64(day) - outlook.last_active_on).astype(int)
    lately = silent_days < 30
    assert 0.10 < outlook.churned[lately].mean() < 0.40
    assert 0.70 < auc(silent_days[lately], outlook.churned[lately]) < 0.95
    assert 0.70 < auc(silent_days, outlook.churned) < 0.95


def test_the_outlook_beyond_the_hidden_future_is_refused(academy: Academy) -> None:
    with pytest.raises(Invalid):
        academy.outlook(END + timedelta(days=17))


@pytest.fixture(scope="module")
def large() -> Academy:
    return Academy.make(20_000, 60, END, SEED)


def surprise(outlook: Outlook, which: np.ndarray) -> float:
    """How many standard errors what came lies from what the true risk says of some users."""
    risk = outlook.risk[which]
    return float(abs(outlook.churned[which].sum() - risk.sum()) / np.sqrt((risk * (1 - risk)).sum()))


def test_the_true_risk_is_how_often_it_comes(large: Academy) -> None:
    outlook = large.outlook(END)
    gone = outlook.risk == 1
    assert 0.05 < gone.mean() < 0.5
    assert outlook.churned[gone].all()
    open_ = np.flatnonzero(~gone)
    tenths = np.array_split(open_[np.argsort(outlook.risk[open_])], 10)
    assert [place for place, part in enumerate(tenths) if surprise(outlook, part) > 4] == []
    assert outlook.risk[tenths[0]].max() < 0.001
    assert outlook.risk[tenths[-1]].min() > 0.3


def test_the_true_risk_knows_on_which_day_of_utc_an_evening_falls(large: Academy) -> None:
    zone = dict(zip(large.truth.user_id.tolist(), large.truth.time_zone.tolist(), strict=True))
    # An evening of Sunday is Monday in UTC, and not as busy: taken together, these days would show an hour's shift.
    mondays = [large.outlook(END - timedelta(days=2 + 7 * week), horizon_days=1) for week in range(-4, 7)]
    here = np.array([zone[user].startswith("America") for one in mondays for user in one.user_id.tolist()])
    together = Outlook(
        **{
            name: np.concatenate([getattr(one, name) for one in mondays])
            for name in ("user_id", "last_active_on", "churned", "risk")
        }
    )
    assert surprise(together, here) < 4
    assert surprise(together, ~here) < 4


def test_who_left_fades_and_then_does_nothing_until_a_return(academy: Academy) -> None:
    truth = academy.truth
    gone = {
        name: str(day)
        for name, day, back in zip(truth.user_id, truth.churned_on, truth.returned_on, strict=True)
        if np.isnat(back)
    }
    acts = [one for one in bodies(academy) if one["event"] == "login" and one["userId"] in gone]
    # A day in another zone can end a UTC day later.
    assert all(str(one["timestamp"])[:10] <= str(np.datetime64(gone[one["userId"]]) + 1) for one in acts)
    assert (~np.isnat(truth.returned_on)).any()


def test_letters_are_opened_around_the_hour_of_each_user(academy: Academy) -> None:
    hours = dict(
        zip(academy.truth.user_id, zip(academy.truth.usual_hour, academy.truth.time_zone, strict=True), strict=True)
    )
    away = []
    for one in bodies(academy):
        if one["event"] == "email_open":
            usual, zone = hours[one["userId"]]
            local = datetime.fromisoformat(str(one["timestamp"])).astimezone(ZoneInfo(zone))
            away.append(abs((local.hour + local.minute / 60 - usual + 12) % 24 - 12))
    assert np.median(away) < 1


def test_loading_goes_through_the_door_once_and_sets_no_baseline(store: Store) -> None:
    small = Academy.make(80, 60, END, SEED)
    now = datetime(2026, 3, 3, 12, tzinfo=UTC)
    seen: list[tuple[int, int]] = []
    first = load(store, small, now=now, progress=lambda done, total: seen.append((done, total)))
    again = load(store, small, now=now + timedelta(days=7))
    assert first.accepted == small.count(until=now) == seen[-1][0] == seen[-1][1]
    assert (first.rejected, again.users, again.rejected) == (0, 0, 0)
    assert (again.accepted, again.duplicate) == (small.count() - first.accepted, first.accepted)
    with store.transaction() as conn:
        stored = dict(conn.execute(sa.select(events.c.event, sa.func.count()).group_by(events.c.event)).all())
        assert stored == Counter(one["event"] for one in bodies(small))
        assert conn.scalar(sa.select(sa.func.count()).where(users.c.baseline_at.is_not(None))) == 0
        assert conn.scalar(sa.select(sa.func.count()).select_from(rejected_events)) == 0
        assert conn.scalar(sa.select(sa.func.count()).select_from(users)) == 80
        assert conn.scalar(sa.select(sa.func.count()).select_from(courses)) == 4
        assert conn.scalar(sa.select(sa.func.count()).select_from(lessons)) == 140
        profile = conn.execute(sa.select(users).where(users.c.id == "u-000001")).one()
    assert profile.email == "amara.adams.1@example.com"
    assert set(profile.consent) == {"email", "dm", "push"}


@pytest.mark.parametrize("template", sorted(LIFTS))
def test_a_message_raises_the_chance_of_its_goal_by_its_lift(academy: Academy, template: str) -> None:
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    lift = LIFTS[template]
    found = react(academy, deliveries(academy, 12_000, template, at), seed=SEED)
    goals = [one for one in found if one.event == lift.event]
    error = np.sqrt(lift.share * (1 - lift.share) / 12_000)
    assert abs(len(goals) / 12_000 - lift.share) < 4 * error
    assert all(at < one.at <= at + timedelta(days=lift.days) for one in goals)


def test_what_an_action_brings_is_the_same_whenever_it_is_drawn(academy: Academy) -> None:
    some = deliveries(academy, 300, "stuck", datetime(2026, 3, 3, 9, tzinfo=UTC))
    assert react(academy, some, seed=1) == react(academy, some, seed=1)
    assert react(academy, some, seed=1) == [*react(academy, some[:100], seed=1), *react(academy, some[100:], seed=1)]
    assert react(academy, some, seed=1) != react(academy, some, seed=2)


def test_people_of_elsewhere_do_not_react(academy: Academy) -> None:
    stranger = Delivery(UUID(int=1), "somebody", "email", "welcome", datetime(2026, 3, 3, tzinfo=UTC))
    assert react(academy, [stranger], seed=SEED) == []


@pytest.mark.parametrize("channel", ["email", "dm", "push"])
def test_reactions_are_posted_when_they_are_due_and_once(academy: Academy, conn: Connection, channel: str) -> None:
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    some = deliveries(academy, 200, "welcome", at, channel)
    soon = respond(conn, academy, some, now=at + timedelta(hours=2), seed=SEED)
    later = respond(conn, academy, some, now=at + timedelta(days=20), seed=SEED)
    assert soon.accepted > 0
    assert soon.to_come > 0
    assert (later.duplicate, later.accepted, later.to_come) == (soon.accepted, soon.to_come, 0)
    named = conn.execute(sa.select(events.c.metadata).where(events.c.event.like(f"{channel}%"))).scalars().all()
    assert {one["actionId"] for one in named} <= {str(one.action_id) for one in some}


def test_time_can_run_fast_for_a_demonstration(academy: Academy) -> None:
    at = datetime(2026, 3, 3, 9, tzinfo=UTC)
    found = react(academy, deliveries(academy, 300, "welcome", at), seed=SEED, speed=100_000)
    assert max(one.at for one in found) - at < timedelta(seconds=10)
    for action in {one.action_id for one in found}:
        moments = [one.at for one in found if one.action_id == action]
        assert moments == sorted(set(moments))


def test_deliveries_are_the_executed_actions(conn: Connection, now: datetime) -> None:
    made = conn.execute(
        sa.insert(actions)
        .values(
            user_id="u-000001",
            action_type="email",
            template="welcome",
            content="Hello",
            content_hash="0",
            triggered_by="manual",
        )
        .returning(actions.c.id)
    ).scalar_one()
    assert delivered(conn, since=now - timedelta(days=1)) == []
    conn.execute(sa.update(actions).values(status="executed", executed_at=now))
    assert delivered(conn, since=now - timedelta(days=1)) == [Delivery(made, "u-000001", "email", "welcome", now)]
    assert delivered(conn, since=now + timedelta(days=1)) == []
