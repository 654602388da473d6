"""What people do in their sessions: lessons in order, quizzes at the end of modules, talk, and now and then money."""

import numpy as np
from numpy.random import Generator

from oracle_lib.simulate import campus
from oracle_lib.simulate.behaviour import Sessions
from oracle_lib.simulate.people import People
from oracle_lib.simulate.rows import Rows, rows, within

_QUIZ_SECONDS = 150
_MOST_FAILS = 3
# A session's chance of each, for a user who is as sociable as the average.
_ASIDES = {"community_comment": 0.13, "community_post": 0.05}
_REMARKS = {"feedback_given": 0.012, "referral_shared": 0.012, "support_ticket": 0.015}
# Momentum: who upgrades does so in the session that completes this many lessons.
_UPGRADE_AT = 8


def study(people: People, sessions: Sessions, rng: Generator) -> list[Rows]:
    """Return the events of all sessions. `user` and `session` count within the block."""
    wished = _wished(people, sessions, rng)
    done = within(sessions.user, wished)
    lessons, spent = _lessons(people, sessions, wished, done, rng)
    return [
        *lessons,
        *_visits(people, sessions, spent, rng),
        *_talk(people, sessions, spent, rng),
        *_money(people, sessions, done, wished, rng),
    ]


def _wished(people: People, sessions: Sessions, rng: Generator) -> np.ndarray:
    """Return how many lessons each session completes, none beyond the user's last course."""
    wished = rng.poisson(people.pace[sessions.user])
    end = campus.LESSONS[people.course] + people.goes_on * campus.LESSONS[campus.after(people.course)]
    return np.clip(end[sessions.user] - within(sessions.user, wished), 0, wished)


def _lessons(
    people: People, sessions: Sessions, wished: np.ndarray, done: np.ndarray, rng: Generator
) -> tuple[list[Rows], np.ndarray]:
    """Return the events of lessons and quizzes, and how many seconds each session lasted."""
    session = np.repeat(np.arange(len(sessions)), wished)
    user = sessions.user[session]
    place = done[session] + within(session, np.ones_like(session))
    first = campus.LESSONS[people.course[user]]
    course = np.where(place < first, people.course[user], campus.after(people.course[user]))
    lesson = np.where(place < first, place, place - first)
    last = lesson == campus.LESSONS[course] - 1
    quiz = last | (lesson % campus.LESSONS_A_MODULE == campus.LESSONS_A_MODULE - 1)
    fails = np.minimum(rng.geometric(people.ability[user]) - 1, _MOST_FAILS) * quiz
    seconds = np.clip(rng.lognormal(6.15, 0.5, len(user)), 90, 3000).astype(np.int64)
    length = seconds + 20 + quiz * (fails + 1) * _QUIZ_SECONDS
    begin = sessions.start[session] + 60 + within(session, length)
    end = begin + seconds
    facts = {"course": course, "lesson": lesson, "session": session}

    def some(kind: str, which: np.ndarray, at: np.ndarray, **more: np.ndarray | int) -> Rows:
        return rows(kind, user[which], at[which], **{name: value[which] for name, value in facts.items()}, **more)

    everywhere = np.ones(len(user), dtype=bool)
    # Who has failed most often may leave it at that, and is stuck without the module.
    cleared = quiz & ((fails < _MOST_FAILS) | (rng.random(len(user)) < 0.5))
    passed = end + (fails + 1) * _QUIZ_SECONDS
    certified = last & cleared & (rng.random(len(user)) < 0.7)
    parts = [
        some("lesson_start", everywhere, begin),
        some("lesson_complete", everywhere, end, seconds=seconds),
        some("note_created", rng.random(len(user)) < 0.08, begin + seconds // 2),
        *(some("quiz_fail", fails > nth, end + (nth + 1) * _QUIZ_SECONDS) for nth in range(_MOST_FAILS)),
        some("quiz_pass", cleared, passed),
        some("module_complete", cleared, passed + 2),
        some("course_complete", last & cleared, passed + 4),
        some("certificate_download", certified, passed + 90),
    ]
    spent = 60 + np.bincount(session, weights=length, minlength=len(sessions)).astype(np.int64)
    return parts, spent


def _visits(people: People, sessions: Sessions, spent: np.ndarray, rng: Generator) -> list[Rows]:
    number = np.arange(len(sessions))
    signed_in = rng.random(len(sessions)) < 0.92
    out = rng.random(len(sessions)) < 0.15
    viewing = np.repeat(number, rng.poisson(1.1, len(sessions)))
    viewed = sessions.start[viewing] + 5 + rng.integers(0, 50, len(viewing))
    joined = np.flatnonzero(people.joined >= 0)
    return [
        rows("signup", joined, people.joined_at[joined]),
        rows("login", sessions.user[signed_in], sessions.start[signed_in], session=number[signed_in]),
        rows("session_start", sessions.user[~signed_in], sessions.start[~signed_in], session=number[~signed_in]),
        rows("page_view", sessions.user[viewing], viewed, session=viewing, seconds=rng.integers(5, 90, len(viewing))),
        rows("logout", sessions.user[out], (sessions.start + spent + 30)[out], session=number[out]),
    ]


def _talk(people: People, sessions: Sessions, spent: np.ndarray, rng: Generator) -> list[Rows]:
    parts = []
    for kind, share in (_ASIDES | _REMARKS).items():
        chance = share * (people.social[sessions.user] if kind in _ASIDES else 1.0)
        which = np.flatnonzero(rng.random(len(sessions)) < chance)
        at = sessions.start[which] + 30 + (rng.random(len(which)) * spent[which]).astype(np.int64)
        parts.append(rows(kind, sessions.user[which], at, session=which))
    return parts


def _money(people: People, sessions: Sessions, done: np.ndarray, wished: np.ndarray, rng: Generator) -> list[Rows]:
    """Return purchases of the first and the next course, upgrades at momentum, and refunds a few days after."""
    bought = _first_session(sessions, sessions.day >= people.buys[sessions.user])
    total = done + wished
    following = _first_session(
        sessions, (total > campus.LESSONS[people.course[sessions.user]]) & people.goes_on[sessions.user]
    )
    upgraded = _first_session(sessions, (total >= _UPGRADE_AT) & people.upgrades[sessions.user])
    regretted = bought[people.refunds[sessions.user[bought]]]
    first = people.course[sessions.user]
    after = campus.after(first)
    back = sessions.start[regretted] + rng.integers(2 * 86_400, 9 * 86_400, len(regretted))

    def sale(kind: str, which: np.ndarray, at: np.ndarray, course: np.ndarray, cents: np.ndarray | int) -> Rows:
        return rows(kind, sessions.user[which], at, course=course[which], cents=cents, session=which)

    return [
        sale("purchase", bought, sessions.start[bought] + 40, first, campus.PRICE_CENTS[first[bought]]),
        sale("purchase", following, sessions.start[following] + 50, after, campus.PRICE_CENTS[after[following]]),
        sale("upgrade", upgraded, sessions.start[upgraded] + 55, first, campus.UPGRADE_CENTS),
        rows(
            "refund",
            sessions.user[regretted],
            back,
            course=first[regretted],
            cents=campus.PRICE_CENTS[first[regretted]],
        ),
    ]


def _first_session(sessions: Sessions, fits: np.ndarray) -> np.ndarray:
    """Return, for each user who has any, the place of the first session that fits."""
    places = np.flatnonzero(fits)
    _, heads = np.unique(sessions.user[places], return_index=True)
    return places[heads]
