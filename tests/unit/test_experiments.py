"""Arms by chance, the same for ever: who is held out, who gets which words, and what is counted of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.decide import caps, content, decider, definition, experiments, rules_engine
from oracle_lib.decide.decider import ALL_TRIGGERS, ProposeReport
from oracle_lib.decide.experiments import ArmShare
from oracle_lib.decide.guardrails import Limits
from oracle_lib.errors import Invalid, NotFound
from oracle_lib.learn import experiments as readouts
from oracle_lib.learn.experiments import Readout
from oracle_lib.settings import Settings
from oracle_lib.storage import tables
from oracle_lib.storage.tables import actions, activity, assignments, skips, suppressions, users
from tests.world import event, post

TODAY = date(2026, 3, 4)
LIMITS = Limits("production", consent_by_default=True, caps=caps.of(9, None, {}))
BODY = {
    "name": "back",
    "trigger": "time_based",
    "conditions": {"days_since": {"event": "activity", "op": ">=", "value": 7}},
    "actionType": "dm",
    "actionData": {"content": "Come back", "template": "plain"},
    "goal": {"event": "lesson_complete", "within_days": 3},
    "cooldown": 0,
}
WARM = {"name": "warm", "share": 30, "content": "We miss you", "template": "warm"}


def rule(conn: Connection, now: datetime, **fields: object) -> rules_engine.Rule:
    made = rules_engine.create(conn, definition.read({**BODY, **fields}), actor="anna", now=now)
    # The same id every time, so that the same users fall into the same arms.
    fixed = sa.update(tables.experiments).where(tables.experiments.c.rule_id == made.id)
    conn.execute(fixed.values(id=uuid5(NAMESPACE_OID, made.definition.name)))
    return made


def silent(conn: Connection, names: list[str]) -> None:
    last = TODAY - timedelta(days=8)
    conn.execute(sa.insert(users), [{"id": name} for name in names])
    conn.execute(sa.insert(activity), [{"user_id": name, "last_active_on": last} for name in names])


def run(conn: Connection, now: datetime, limits: Limits = LIMITS) -> ProposeReport:
    return decider.propose(conn, as_of=TODAY, now=now, triggers=ALL_TRIGGERS, everyone=True, limits=limits)


def standing(conn: Connection) -> sa.Row:
    return conn.execute(sa.select(tables.experiments).where(tables.experiments.c.ended_at.is_(None))).one()


def pairs(conn: Connection, query: sa.Select) -> dict:
    return dict(tuple(row) for row in conn.execute(query))


def arms(conn: Connection) -> dict[str, str]:
    return pairs(conn, sa.select(assignments.c.user_id, assignments.c.arm))


def test_a_marketing_message_holds_out_one_in_ten_unless_the_rule_says_otherwise() -> None:
    assert definition.read(BODY).shares == {"holdout": 10, "a": 90}
    assert definition.read({**BODY, "holdout": 0}).shares == {"a": 100}
    assert definition.read({**BODY, "messageClass": "transactional"}).holdout == 0
    assert definition.read({**BODY, "actionType": "alert"}).holdout == 0
    assert definition.read({**BODY, "holdout": 20, "variants": [WARM]}).shares == {"holdout": 20, "a": 50, "warm": 30}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"holdout": 51}, "holdout"),
        ({"actionType": "post", "holdout": 10}, "holdout"),
        ({"variants": [{**WARM, "share": 90}]}, "variants"),
        ({"variants": [WARM, WARM]}, "variants[1].name"),
        ({"variants": [{**WARM, "name": "holdout"}]}, "variants[0].name"),
        ({"variants": [{**WARM, "content": "{{ nickname }}"}]}, "variants[0].content"),
        ({"variants": [{"name": "warm", "share": 5}]}, "variants[0].content"),
        ({"actionData": {"content": "Hi", "locales": {"es": {"content": "{{ x }}"}}}}, "actionData.locales.es.content"),
        ({"actionData": {"content": "Hi", "locales": {"es!": {"content": "Hola"}}}}, "actionData.locales.es!"),
    ],
)
def test_a_bad_experiment_is_refused_with_its_place(fields: dict[str, object], place: str) -> None:
    with pytest.raises(Invalid) as refused:
        definition.read({**BODY, **fields})
    assert refused.value.field == place


def test_a_definition_with_variants_and_languages_is_read_back_as_it_was_written() -> None:
    said = {"content": "Hi", "locales": {"pt-BR": {"content": "Oi"}, "es": {"content": "Hola"}}}
    made = definition.read({**BODY, "actionData": said, "variants": [WARM]})
    assert definition.read(definition.wire(made)) == made


def by_hash(experiment_id: UUID, user_id: str, shares: Sequence[ArmShare]) -> str:
    digest = hashlib.md5(f"{experiment_id}:{user_id}".encode(), usedforsecurity=False).hexdigest()
    place = 100 * int(digest[:8], 16) / 2**32
    return next(one.arm for one in shares if place < one.until)


def test_the_database_draws_the_arms_that_the_hash_says_and_in_the_planned_shares(
    conn: Connection, now: datetime
) -> None:
    rule(conn, now, holdout=20, variants=[WARM])
    silent(conn, [f"u{number}" for number in range(2000)])
    report = run(conn, now)
    experiment = standing(conn)
    shares = [ArmShare(**one) for one in experiment.arms]
    drawn = arms(conn)
    assert drawn == {name: by_hash(experiment.id, name, shares) for name in drawn}
    arm = experiments.arm_of(experiment.id, users.c.id, shares)
    assert drawn == {row.id: row.arm for row in conn.execute(sa.select(users.c.id, arm.label("arm")))}
    alone = experiments.arm_of(experiment.id, users.c.id, [ArmShare("a", 100, 100)])
    assert set(conn.scalars(sa.select(alone).select_from(users))) == {"a"}
    counted = Counter(drawn.values())
    # Four standard deviations of a fair draw.
    assert all(
        abs(counted[arm] - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5
        for arm, share in {"holdout": 0.2, "a": 0.5, "warm": 0.3}.items()
    )
    assert report.skipped == {"holdout": counted["holdout"]}
    assert report.proposed == 2000 - counted["holdout"]
    said = conn.execute(sa.select(actions.c.user_id, actions.c.arm, actions.c.template, actions.c.content)).all()
    assert all(drawn[row.user_id] == row.arm for row in said)
    assert {(row.arm, row.template, row.content) for row in said} == {
        ("a", "plain", "Come back"),
        ("warm", "warm", "We miss you"),
    }


def test_a_user_stays_in_their_arm_and_is_counted_from_the_first_time(conn: Connection, now: datetime) -> None:
    rule(conn, now, holdout=50)
    silent(conn, [f"u{number}" for number in range(60)])
    run(conn, now)
    before = arms(conn)
    later = now + timedelta(hours=1)
    conn.execute(sa.update(activity).values(last_active_on=TODAY - timedelta(days=7)))
    run(conn, later)
    assert arms(conn) == before
    assert set(conn.scalars(sa.select(assignments.c.exposed_at))) == {now}
    assert {"holdout", "a"} == set(before.values())


def test_other_words_or_shares_or_goals_begin_a_new_experiment_and_nothing_else_does(
    conn: Connection, now: datetime
) -> None:
    made = rule(conn, now)
    first = standing(conn).id

    def published(**fields: object) -> UUID:
        rules_engine.publish(conn, made.id, definition.read({**BODY, **fields}), actor="anna", now=now)
        return standing(conn).id

    assert published(priority=9, cooldown=5, name="come back", maxPerUser=2) == first
    seen = {first}
    for change in (
        {"actionData": {"content": "Do come back"}},
        {"holdout": 20},
        {"goal": {"event": "login", "within_days": 3}},
        {"variants": [WARM]},
    ):
        fresh = published(**change)
        assert fresh not in seen
        seen.add(fresh)
    rules_engine.publish(conn, made.id, definition.read({**BODY, "holdout": 0}), actor="anna", now=now)
    assert conn.scalar(sa.select(sa.func.count()).where(tables.experiments.c.ended_at.is_(None))) == 0


def test_who_is_held_out_takes_no_place_under_the_cap_and_is_asked_it_all_the_same(
    conn: Connection, now: datetime
) -> None:
    rule(conn, now, holdout=50, priority=9)
    rule(conn, now, holdout=0, priority=5, name="second")
    rule(conn, now, holdout=50, priority=1, name="last")
    silent(conn, [f"u{number}" for number in range(80)])
    run(conn, now, Limits("production", consent_by_default=True, caps=caps.of(1, None, {})))
    sent = pairs(conn, sa.select(actions.c.user_id, actions.c.triggered_by))
    first = uuid5(NAMESPACE_OID, "back")
    held = set(
        conn.scalars(
            sa.select(assignments.c.user_id).where(assignments.c.arm == "holdout", assignments.c.experiment_id == first)
        )
    )
    assert 20 < len(held) < 60
    assert {name for name, said in sent.items() if said == "second"} == held
    # The last rule would have reached nobody in either arm, so nobody counts for it.
    last = conn.scalars(sa.select(assignments.c.user_id).where(assignments.c.experiment_id != first)).all()
    assert last == []
    assert conn.scalar(sa.select(sa.func.count()).where(skips.c.reason == "daily_cap")) == 80 + len(sent) - len(held)


def test_who_may_not_be_written_to_is_in_no_arm(conn: Connection, now: datetime) -> None:
    rule(conn, now, holdout=50)
    silent(conn, ["u1", "u2", "u3"])
    conn.execute(sa.update(users).values(consent={"dm": False}))
    assert run(conn, now).skipped == {"no_consent": 3}
    assert arms(conn) == {}


def test_a_user_reads_their_own_language_or_the_nearest_there_is(conn: Connection, now: datetime) -> None:
    words = {
        "content": "Hi",
        "locales": {"pt": {"content": "Olá"}, "pt-BR": {"content": "Oi"}, "es": {"content": "¡Hola!"}},
    }
    rule(conn, now, holdout=0, actionData=words)
    silent(conn, ["br", "pt", "mx", "fr", "nobody"])
    for name, tag in {"br": "pt-br", "pt": "pt-PT", "mx": "es-MX", "fr": "fr"}.items():
        conn.execute(sa.update(users).where(users.c.id == name).values(locale=tag))
    run(conn, now)
    said = pairs(conn, sa.select(actions.c.user_id, actions.c.content))
    assert said == {"br": "Oi", "pt": "Olá", "mx": "¡Hola!", "fr": "Hi", "nobody": "Hi"}


def lived(conn: Connection, now: datetime) -> tuple[Readout, dict[str, str]]:
    """400 users, half held out; who is in arm `a` finishes a lesson if their number is even, the others one in ten."""
    rule(conn, now, holdout=50)
    names = [f"u{number}" for number in range(400)]
    silent(conn, names)
    run(conn, now)
    drawn = arms(conn)
    bodies = []
    for number, name in enumerate(names):
        at = now + timedelta(hours=1 + number % 50)
        if number % (2 if drawn[name] == "a" else 10) == 0:
            bodies.append(event(name, "lesson_complete", at, messageId=f"l{number}"))
            bodies.append(event(name, "purchase", at, messageId=f"p{number}", metadata={"amount": 10}))
        bodies.append(event(name, "lesson_complete", now + timedelta(days=4), messageId=f"late{number}"))
        bodies.append(event(name, "lesson_complete", now - timedelta(hours=2), messageId=f"early{number}"))
    post(conn, bodies, now + timedelta(days=5))
    gone = next(name for name in names if drawn[name] == "a")
    conn.execute(
        sa.insert(suppressions).values(user_id=gone, channel="all", reason="unsubscribed", at=now + timedelta(days=1))
    )
    readouts.measure(conn, now=now + timedelta(days=5), settings=Settings())
    [read] = readouts.listing(conn, now=now + timedelta(days=5))
    return read, drawn


def test_a_read_out_counts_each_arm_from_assignment_on_and_within_the_days_of_the_goal(
    conn: Connection, now: datetime
) -> None:
    read, drawn = lived(conn, now)
    converted = {
        arm: sum(drawn[f"u{n}"] == arm for n in range(0, 400, step)) for arm, step in (("a", 2), ("holdout", 10))
    }
    by_name = {arm.arm: arm for arm in read.arms}
    for arm, count in converted.items():
        size = sum(one == arm for one in drawn.values())
        figures = by_name[arm]
        assert (figures.enrolled, figures.users, figures.converted) == (size, size, count)
        assert (figures.revenue, figures.revenue_squares) == (10 * count, 100 * count)
    assert (by_name["a"].unsubscribed, by_name["holdout"].unsubscribed) == (1, 0)
    [effect] = read.effects
    expected = converted["a"] / by_name["a"].users - converted["holdout"] / by_name["holdout"].users
    assert effect.goal.difference == pytest.approx(expected)
    assert (read.control, read.causal, effect.verdict, read.split.broken) == ("holdout", True, "better", False)
    assert effect.adjusted_p == pytest.approx(effect.goal.p)
    assert readouts.summary(read, effect).endswith("it does better.")


def test_what_a_holdout_measured_is_kept_for_the_next_best_action(conn: Connection, now: datetime) -> None:
    read, _ = lived(conn, now)
    kept = conn.execute(sa.select(tables.rule_effects)).one()
    goal = read.effects[0].goal
    assert (kept.rule_id, kept.users) == (read.rule_id, 400)
    assert (kept.difference, kept.standard_error) == pytest.approx((goal.difference, goal.standard_error))
    lost = sa.select(assignments.c.user_id).where(assignments.c.arm == "holdout").order_by("user_id").limit(80)
    conn.execute(sa.delete(assignments).where(assignments.c.user_id.in_(lost)))
    readouts.measure(conn, now=now + timedelta(days=5), settings=Settings())
    assert conn.execute(sa.select(tables.rule_effects)).all() == []


def test_measuring_again_changes_nothing_and_users_whose_days_run_are_not_counted_yet(
    conn: Connection, now: datetime
) -> None:
    lived(conn, now)
    assert readouts.measure(conn, now=now + timedelta(days=5), settings=Settings()).changed == 0
    [early] = readouts.listing(conn, now=now + timedelta(days=2))
    assert [arm.users for arm in early.arms] == [0, 0]
    assert sum(arm.enrolled for arm in early.arms) == 400
    assert [effect.verdict for effect in early.effects] == ["not enough data"]


def test_without_a_goal_any_activity_of_their_own_counts(conn: Connection, now: datetime) -> None:
    made = {name: value for name, value in BODY.items() if name != "goal"}
    rules_engine.create(conn, definition.read(made), actor="anna", now=now)
    silent(conn, ["u1", "u2"])
    run(conn, now)
    at = now + timedelta(days=6)
    post(conn, [event("u1", "login", at, messageId="m1"), event("u2", "email_open", at, messageId="m2")], at)
    readouts.measure(conn, now=now + timedelta(days=8), settings=Settings())
    came = pairs(conn, sa.select(assignments.c.user_id, assignments.c.converted_at))
    assert came == {"u1": at, "u2": None}


def test_users_who_vanish_from_an_arm_break_the_split_and_nothing_is_read_from_it(
    conn: Connection, now: datetime
) -> None:
    read, _ = lived(conn, now)
    lost = sa.select(assignments.c.user_id).where(assignments.c.arm == "holdout").order_by("user_id").limit(80)
    conn.execute(sa.delete(assignments).where(assignments.c.user_id.in_(lost)))
    [read] = readouts.listing(conn, now=now + timedelta(days=5))
    assert read.split.broken
    assert [effect.verdict for effect in read.effects] == ["broken split"]
    assert "nothing may be read" in readouts.summary(read, read.effects[0])


def test_an_unknown_experiment_is_not_found(conn: Connection, now: datetime) -> None:
    with pytest.raises(NotFound):
        readouts.get(conn, UUID(int=7), now=now)


def test_a_post_names_its_community_and_it_is_part_of_what_is_approved(conn: Connection, now: datetime) -> None:
    said = {"content": "Welcome our new members", "community": "python"}
    rule(conn, now, actionType="post", actionData=said)
    silent(conn, ["u1"])
    run(conn, now)
    row = conn.execute(sa.select(actions)).one()
    assert row.address == "python"
    sealed = content.payload(
        user_id="u1", action_type="post", subject=None, content=said["content"], address=row.address
    )
    assert row.content_hash == content.content_hash(sealed)
    with pytest.raises(Invalid, match="team"):
        definition.read({**BODY, "actionType": "post", "actionData": {**said, "team": "support"}})
