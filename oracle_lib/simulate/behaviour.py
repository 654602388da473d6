"""When people come: sessions in their own hours, with a weekly rhythm, a keen start, holidays, a fade at the end."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator

from oracle_lib.simulate.people import ZONES, People

# Monday to Sunday, as people study.
_WEEK = np.array([1.12, 1.15, 1.1, 1.05, 0.85, 0.75, 0.98])


@dataclass(frozen=True)
class Sessions:
    """Visits, sorted by user and start. `user` is a place in the block, `start` seconds from the first day."""

    user: np.ndarray
    day: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


def presence(people: People, start: date, days: int) -> np.ndarray:
    """Return the probability that each user comes on each day, an array of users x days."""
    day = np.arange(days)
    age = day[None, :] - people.joined[:, None]
    left = people.churned[:, None] - day[None, :]
    fading = np.clip(left / people.fade[:, None], 0.12, 1.0) * (left > 0)
    back = 0.6 * ((day >= people.returned[:, None]) & (day < people.left_again[:, None]))
    keen = 1 + 0.8 * np.exp(-np.maximum(age, 0) / 5)
    pausing = (day >= people.pause[:, None]) & (day < (people.pause + people.pause_days)[:, None])
    weekday = _WEEK[(start.weekday() + day) % 7]
    chance = people.rate[:, None] * (fading * keen + back) * weekday * np.where(pausing, 0.03, 1.0)
    chance[age < 0] = 0
    chance[age == 0] = 1
    return np.minimum(chance, 0.97)


def visits(people: People, start: date, days: int, rng: Generator) -> Sessions:
    """Draw the sessions of `days` days from `start`; the first of a new user begins two minutes after joining."""
    chance = presence(people, start, days)
    user, day = np.nonzero(rng.random(chance.shape) < chance)
    again = rng.random(len(user)) < 0.14
    begin = at_local_hour(people, user, day, people.hour[user] + 1.6 * rng.standard_normal(len(user)), start)
    begin = np.where(day == people.joined[user], people.joined_at[user] + 120, begin)
    later = begin[again] + rng.integers(2 * 3600, 5 * 3600, int(again.sum()))
    user, day = np.concatenate([user, user[again]]), np.concatenate([day, day[again]])
    begin = np.concatenate([begin, later])
    # Nobody acts before joining: a morning in Sydney is the day before in UTC.
    begin = np.maximum(begin, people.joined_at[user] + 120)
    order = np.lexsort((begin, user))
    return Sessions(user=user[order], day=day[order], start=begin[order])


def at_local_hour(people: People, user: np.ndarray, day: np.ndarray, hour: np.ndarray, start: date) -> np.ndarray:
    """Return the seconds from the first day at which a user's clock shows `hour` (any real, taken modulo 24)."""
    offset = _offsets(start, int(day.max(initial=0)) + 1)[people.zone[user], day]
    return (day * 86_400 + (hour % 24) * 3600 - offset).astype(np.int64)


@cache
def _offsets(start: date, days: int) -> np.ndarray:
    """Return each zone's distance from UTC at noon of each day, in seconds: zones x days."""
    noons = [datetime(start.year, start.month, start.day, 12, tzinfo=UTC) + timedelta(days=n) for n in range(days)]
    return np.array(
        [
            [(noon.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds() for noon in noons]
            for zone in ZONES
        ]
    )
