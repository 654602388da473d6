"""The academy's own weekly letter: who gets it, who opens it and at which hour. ORACLE had no part in it."""

from datetime import date

import numpy as np
from numpy.random import Generator

from oracle_lib.simulate.behaviour import at_local_hour
from oracle_lib.simulate.people import CHANNELS, People
from oracle_lib.simulate.rows import Rows, rows

_TUESDAY = 1
_SENT_AT = 9 * 3600
OPEN_SHARE = 0.34
CLICK_SHARE = 0.16
# The letter stops this many days after a user has gone; meanwhile a few still open it.
_STOPS_AFTER = 40
_GONE_SHARE = 0.2
_EMAIL = CHANNELS.index("email")


def letters(people: People, start: date, days: int, rng: Generator) -> list[Rows]:
    """Return email_sent, email_open and email_click of every Tuesday's letter, for who agreed to e-mail."""
    tuesdays = np.arange((_TUESDAY - start.weekday()) % 7, days, 7)
    sent = (people.joined[:, None] < tuesdays) & (tuesdays < people.churned[:, None] + _STOPS_AFTER)
    user, week = np.nonzero(sent & people.consent[:, _EMAIL, None])
    day = tuesdays[week]
    at = day * 86_400 + _SENT_AT + user % 900
    gone = day >= people.churned[user]
    chance = OPEN_SHARE * people.response[user, _EMAIL] * np.where(gone, _GONE_SHARE, 1.0)
    opened = rng.random(len(user)) < np.minimum(chance, 0.95)
    seen = at_local_hour(people, user, day, people.hour[user] + 0.8 * rng.standard_normal(len(user)), start)
    # A usual hour that was over when the letter came is tomorrow's.
    seen = np.where(seen <= at + 60, seen + 86_400, seen)
    clicked = opened & (rng.random(len(user)) < CLICK_SHARE)
    return [
        rows("email_sent", user, at, letter=day),
        rows("email_open", user[opened], seen[opened], letter=day[opened]),
        rows("email_click", user[clicked], seen[clicked] + 40, letter=day[clicked]),
    ]
