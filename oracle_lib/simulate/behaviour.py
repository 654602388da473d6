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
# By how many hours the start of a visit strays from the user's usual hour: a standard deviation.
_STRAYS = 1.6
# The chance of a second visit on the same day, and after how many hours it comes.
_AGAIN, _AGAIN_AFTER = 0.14, (2, 5)


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
    again = rng.random(len(user)) < _AGAIN
    begin = at_local_hour(people, user, day, people.hour[user] + _STRAYS * rng.standard_normal(len(user)), start)
    begin = np.where(day == people.joined[user], people.joined_at[user] + 120, begin)
    soonest, latest = (hours * 3600 for hours in _AGAIN_AFTER)
    later = begin[again] + rng.integers(soonest, latest, int(again.sum()))
    user, day = np.concatenate([user, user[again]]), np.concatenate([day, day[again]])
    begin = np.concatenate([begin, later])
    # Nobody acts before joining: a morning in Sydney is the day before in UTC.
    begin = np.maximum(begin, people.joined_at[user] + 120)
    order = np.lexsort((begin, user))
    return Sessions(user=user[order], day=day[order], start=begin[order])


def absence(people: People, start: date, first: int, last: int, days: int) -> np.ndarray:
    """Return the probability that each user comes on none of the UTC days `first` to `last`: one element a user.

    Given everything latent, the day they leave for good among it, and nothing of what they did: whoever comes in the
    evening of New York comes on the next day of UTC. `days` is how many days were drawn, as for `visits`. Left out are
    the minutes for which a visit goes on past midnight.
    """
    local = np.arange(first - 1, min(last + 2, days))
    chance = presence(people, start, days)[:, local]
    offset = _offsets(start, days)[:, local][people.zone] / 3600
    # Where on the user's clock, in hours of each of their days, the first UTC day begins and the last one ends.
    begin, end = 24 * (first - local) + offset, 24 * (last + 1 - local) + offset
    before = _starts_by(people.hour, begin)
    # Who came too early for the first day may come again, on the mean of a few delays.
    delays = np.linspace(*_AGAIN_AFTER, 7)
    again = _AGAIN * np.mean([before - _starts_by(people.hour, begin - hours) for hours in delays], axis=0)
    inside = _starts_by(people.hour, end) - before + again
    # The first visit of all follows the minute of joining.
    inside = np.where(local == people.joined[:, None], (first <= local) & (local <= last), inside)
    found: np.ndarray = np.prod(1 - chance * inside, axis=1)
    return found


def _starts_by(usual: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Return the probability that a visit begins before `clock` (hours of its local day, users x days)."""
    from scipy.special import ndtr

    hour = usual[:, None]
    until = np.clip(clock, 0, 24) - hour
    # Hours are modulo 24: what strays over midnight is at the other end of the day.
    found: np.ndarray = sum(ndtr((turn + until) / _STRAYS) - ndtr((turn - hour) / _STRAYS) for turn in (-24, 0, 24))
    return found


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
