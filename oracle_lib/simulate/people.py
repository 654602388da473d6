"""The people of the simulated academy and what is true of them, which no event says.

Everything is an array with one element a user. Days count from the academy's first day; `NEVER` is beyond any day.
A user leaves at a hazard that falls with the habit of coming and with tenure and rises with trouble in quizzes; some
come back for a while.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.random import Generator

from oracle_lib.observe import catalogue
from oracle_lib.simulate import campus

NEVER = 1_000_000
CHANNELS = ("email", "dm", "push")
STYLES = tuple(catalogue.STYLES.values())
GOALS = ("career_change", "promotion", "certificate", "hobby")
ZONES = (
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Europe/London",
    "Europe/Berlin",
    "Africa/Lagos",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Sydney",
)
_ZONE_SHARES = (0.26, 0.12, 0.08, 0.14, 0.14, 0.08, 0.1, 0.05, 0.03)
_LONGEST_TENURE = 150
_HAZARD = 0.0042


@dataclass(frozen=True)
class People:
    """One block of users. Shares and probabilities are 0-1, hours local, `joined_at` seconds from the first day."""

    first: int
    joined: np.ndarray
    joined_at: np.ndarray
    rate: np.ndarray
    hour: np.ndarray
    zone: np.ndarray
    goal: np.ndarray
    ability: np.ndarray
    social: np.ndarray
    pace: np.ndarray
    response: np.ndarray
    consent: np.ndarray
    mobile: np.ndarray
    churned: np.ndarray
    fade: np.ndarray
    returned: np.ndarray
    left_again: np.ndarray
    pause: np.ndarray
    pause_days: np.ndarray
    course: np.ndarray
    goes_on: np.ndarray
    upgrades: np.ndarray
    buys: np.ndarray
    refunds: np.ndarray
    style: np.ndarray
    tells_goal: np.ndarray
    tells_style: np.ndarray

    def __len__(self) -> int:
        return len(self.rate)


@dataclass(frozen=True)
class Truth:
    """What is true of each user: one array element each, in the order of the ids. Dates are datetime64[D], NaT: never.

    `churned_on` is the first day the user is gone for good or until `returned_on`; the days before it fade.
    `rate` is the probability to come on a usual day, `usual_hour` local, `response` how much more than the average
    user this one reacts on (email, dm, push): 1 is average. `goal` and `style` are what some of them tell.
    """

    user_id: np.ndarray
    joined_on: np.ndarray
    churned_on: np.ndarray
    returned_on: np.ndarray
    left_again_on: np.ndarray
    rate: np.ndarray
    usual_hour: np.ndarray
    time_zone: np.ndarray
    response: np.ndarray
    goal: np.ndarray
    style: np.ndarray


def user_id(number: int) -> str:
    """Return the id of a user by place."""
    return f"u-{number + 1:06d}"


def draw(first: int, count: int, days: int, rng: Generator) -> People:
    """Draw `count` users, the first of them at place `first`, who join up to the last of `days` days."""
    habit = rng.standard_normal(count)
    trouble = rng.standard_normal(count)
    before = rng.random(count) < 0.4
    joined = np.where(before, rng.integers(-_LONGEST_TENURE, 0, count), rng.integers(0, days, count))
    hour = (19 + 3.2 * rng.standard_normal(count)) % 24
    lead = rng.random(count) < 0.12
    churned = joined + _tenure(habit, trouble, lead, rng)
    returned = np.where(rng.random(count) < 0.14, churned + rng.integers(20, 60, count), NEVER)
    buys = np.where(lead | (rng.random(count) < 0.3), NEVER, joined + rng.geometric(0.25, count) - 1)
    early = churned - buys
    # Of a stream of their own, so that everything else is drawn as it is without them.
    tastes = rng.spawn(1)[0]
    return People(
        first=first,
        joined=joined,
        joined_at=joined * 86_400 + rng.integers(6 * 3600, 20 * 3600, count),
        rate=1 / (1 + np.exp(1.15 - 0.85 * habit)),
        hour=hour,
        zone=rng.choice(len(ZONES), count, p=_ZONE_SHARES),
        goal=rng.choice(len(GOALS), count, p=(0.3, 0.25, 0.2, 0.25)),
        ability=1 / (1 + np.exp(-0.9 + 0.8 * trouble)),
        social=rng.gamma(0.7, 1 / 0.7, count),
        pace=np.where(lead, 0.0, rng.gamma(4, 1.15 / 4, count)),
        response=rng.gamma(2.5, 1 / 2.5, (count, len(CHANNELS))),
        consent=rng.random((count, len(CHANNELS))) < (0.92, 0.97, 0.4),
        mobile=rng.random(count) < 0.4,
        churned=churned,
        fade=rng.integers(5, 25, count),
        returned=returned,
        left_again=np.where(returned < NEVER, returned + rng.geometric(1 / 25, count), NEVER),
        pause=rng.integers(0, days, count),
        pause_days=np.where(rng.random(count) < 0.4, rng.integers(5, 18, count), 0),
        course=rng.choice(len(campus.COURSES), count, p=(0.4, 0.25, 0.2, 0.15)),
        goes_on=rng.random(count) < 0.4,
        upgrades=rng.random(count) < 0.12,
        buys=buys,
        refunds=(rng.random(count) < 0.35) & (early > 0) & (early < 14),
        style=tastes.integers(0, len(STYLES), count),
        tells_goal=tastes.random(count) < 0.7,
        tells_style=tastes.random(count) < 0.25,
    )


def _tenure(habit: np.ndarray, trouble: np.ndarray, lead: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw after how many days each user leaves: at least one, weibull-like with many leaving early."""
    hazard = _HAZARD * np.exp(-0.75 * habit + 0.45 * trouble + 1.2 * lead)
    ages = np.arange(0, 2_000)
    cumulated = ages + 22 * (1 - np.exp(-ages / 9))
    return 1 + np.interp(rng.exponential(1, len(habit)) / hazard, cumulated, ages).astype(np.int64)


def truth(blocks: list[People], start: date) -> Truth:
    """Put the blocks' latent facts together, days as dates."""

    def joint(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name) for block in blocks])

    def on(name: str) -> np.ndarray:
        days = joint(name)
        dates = np.datetime64(start, "D") + np.where(days < NEVER, days, 0).astype("timedelta64[D]")
        return np.where(days < NEVER, dates, np.datetime64("NaT", "D"))

    total = sum(len(block) for block in blocks)
    return Truth(
        user_id=np.array([user_id(number) for number in range(total)]),
        joined_on=on("joined"),
        churned_on=on("churned"),
        returned_on=on("returned"),
        left_again_on=on("left_again"),
        rate=joint("rate"),
        usual_hour=joint("hour"),
        time_zone=np.array(ZONES)[joint("zone")],
        response=joint("response"),
        goal=np.array(GOALS)[joint("goal")],
        style=np.array(STYLES)[joint("style")],
    )
