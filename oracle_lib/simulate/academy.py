"""The simulated academy: people, courses and events, with a hidden future that tells who really leaves.

Memory is about 30 bytes an event; users are drawn in blocks, each from a seed of its own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from oracle_lib.clock import DAY, start_of
from oracle_lib.errors import Invalid
from oracle_lib.observe.catalogue import ACTED
from oracle_lib.simulate import campus, people, roster, rows
from oracle_lib.simulate.behaviour import absence, visits
from oracle_lib.simulate.bodies import render
from oracle_lib.simulate.forms import forms
from oracle_lib.simulate.letters import letters
from oracle_lib.simulate.people import People, Truth
from oracle_lib.simulate.rows import NAMES, NONE, Rows
from oracle_lib.simulate.study import study

# How far the hidden future reaches beyond the last day.
FUTURE_DAYS = 30
_BLOCK = 10_000


@dataclass(frozen=True)
class Outlook:
    """Who, of those who had acted by the end of a day, did nothing in the days after: one element a user.

    `risk` is the true probability of that, given everything latent about the user: what a model that is calibrated says
    is its expectation, given what the model knows.
    """

    user_id: np.ndarray
    last_active_on: np.ndarray
    churned: np.ndarray
    risk: np.ndarray


@dataclass(frozen=True)
class Academy:
    """One simulated academy. `name` stands for its arguments; `end` is the last day that is not future."""

    name: str
    start: date
    end: date
    blocks: list[People]
    rows: Rows

    @classmethod
    def make(cls, users: int, days: int, end: date, seed: int) -> "Academy":
        """Draw an academy of `users` people over the `days` days up to and with `end`. Deterministic.

        Raises `Invalid` for fewer than one user or day.
        """
        if users < 1 or days < 1:
            raise Invalid(
                "A simulated academy needs at least one user and one day.", field="users" if users < 1 else "days"
            )
        start = end - timedelta(days=days - 1)
        blocks, parts, sessions = [], [], 0
        for first in range(0, users, _BLOCK):
            rng = np.random.default_rng([seed, first])
            block = people.draw(first, min(_BLOCK, users - first), days, rng)
            found = visits(block, start, days + FUTURE_DAYS, rng)
            studied = rows.joint(study(block, found, rng))
            learned = forms(block, studied, rng.spawn(1)[0])
            events = rows.joint([studied, *learned, *letters(block, start, days + FUTURE_DAYS, rng)])
            numbered = np.where(events.session == NONE, NONE, events.session + sessions)
            parts.append(replace(events, user=events.user + np.int32(first), session=numbered.astype(np.int32)))
            blocks.append(block)
            sessions += len(found)
        name = hashlib.blake2b(f"{users} {days} {end} {seed}".encode(), digest_size=4).hexdigest()
        return cls(name=name, start=start, end=end, blocks=blocks, rows=rows.joint(parts))

    @property
    def users(self) -> int:
        """How many people there are."""
        return sum(len(block) for block in self.blocks)

    @cached_property
    def truth(self) -> Truth:
        """What is true of each user and no event says."""
        return people.truth(self.blocks, self.start)

    @property
    def courses(self) -> tuple[campus.CourseOffer, ...]:
        """The courses, with their lessons and prices in USD."""
        return campus.COURSES

    def outlook(self, day: date, horizon_days: int = 14) -> Outlook:
        """Return who is active no more in the `horizon_days` days after `day`. Raises `Invalid` beyond the future."""
        if not self.start <= day <= self.end + timedelta(days=FUTURE_DAYS - horizon_days):
            raise Invalid(f"The academy lives from {self.start} to {self.end}; {day} is too far out.", field="day")
        cut = (day - self.start).days
        acted = self.rows.take(np.isin(self.rows.kind, [NAMES.index(kind) for kind in ACTED]))
        on = acted.at // 86_400
        last = np.full(self.users, NONE)
        np.maximum.at(last, acted.user[on <= cut], on[on <= cut])
        stays = np.zeros(self.users, dtype=bool)
        stays[acted.user[(on > cut) & (on <= cut + horizon_days)]] = True
        drawn = (self.end - self.start).days + 1 + FUTURE_DAYS
        risk = [absence(block, self.start, cut + 1, cut + horizon_days, drawn) for block in self.blocks]
        known = np.flatnonzero(last != NONE)
        return Outlook(
            user_id=self.truth.user_id[known],
            last_active_on=np.datetime64(self.start, "D") + last[known].astype("timedelta64[D]"),
            churned=~stays[known],
            risk=np.concatenate(risk)[known],
        )

    def profiles(self) -> list[dict[str, object]]:
        """Return the users' profiles, as rows of table `users`."""
        return [profile for block in self.blocks for profile in roster.profiles(block, self.start)]

    def count(self, day_from: date | None = None, day_to: date | None = None, *, until: datetime | None = None) -> int:
        """Return how many events `events` yields for the same arguments."""
        span = self._span(day_from, day_to, until)
        return span.stop - span.start

    def events(
        self,
        day_from: date | None = None,
        day_to: date | None = None,
        *,
        until: datetime | None = None,
        batch: int = 2_000,
    ) -> Iterator[list[bytes]]:
        """Yield the events of these UTC days, both included, in order of time, as JSON bodies of the wire.

        Default: from the first event to `end`. `until` leaves out what happens after a moment. Days after `end` are
        the hidden future: what people do when ORACLE does nothing.
        """
        span = self._span(day_from, day_to, until)
        for first in range(span.start, span.stop, batch):
            yield self._bodies(first, min(first + batch, span.stop))

    def _span(self, day_from: date | None, day_to: date | None, until: datetime | None) -> slice:
        first = ((day_from - self.start).days * 86_400) if day_from else self.rows.at.min(initial=0)
        stop = ((day_to or self.end) + DAY - self.start).days * 86_400
        if until is not None:
            stop = min(stop, int((until - start_of(self.start)).total_seconds()) + 1)
        at = self.rows.at
        begin = int(np.searchsorted(at, first))
        return slice(begin, max(begin, int(np.searchsorted(at, stop))))

    def local_hour(self, user: int, moment: datetime) -> float:
        """Return what the clock of the user at this place shows at a moment, in hours."""
        here = moment.astimezone(ZoneInfo(str(self.truth.time_zone[user])))
        return here.hour + here.minute / 60

    def next_lesson(self, user: int, moment: datetime) -> tuple[int, int]:
        """Return the course and the place in it of the lesson that a user would take next at a moment."""
        mine = self._lessons.take(self._lessons.user == user)
        mine = mine.take(mine.at <= (moment - start_of(self.start)).total_seconds())
        if not len(mine):
            return int(self.blocks[user // _BLOCK].course[user % _BLOCK]), 0
        course, lesson = int(mine.course[-1]), int(mine.lesson[-1]) + 1
        return (course, lesson) if lesson < campus.LESSONS[course] else (int(campus.after(mine.course[-1])), 0)

    @cached_property
    def _lessons(self) -> Rows:
        return self.rows.take(self.rows.kind == NAMES.index("lesson_complete"))

    def _bodies(self, first: int, stop: int) -> list[bytes]:
        part = self.rows.take(slice(first, stop))
        return render(part, start=self.start, academy=self.name, first=first, mobile=self._mobile)

    @cached_property
    def _mobile(self) -> list[bool]:
        return [flag for block in self.blocks for flag in block.mobile.tolist()]
