"""What simulated people do after a delivery: open it at their hour, click, and now and then do what it asked for.

`LIFTS` is the truth that effects are measured against: by how much a delivered message of a template raises the
probability of its event, on average over users. One user's own lift is that times their response to the channel
(mean 1). What people do anyway is the academy's own future, `Academy.events`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.observe.ingest import ingest
from oracle_lib.simulate import campus
from oracle_lib.simulate.academy import Academy
from oracle_lib.simulate.letters import CLICK_SHARE, OPEN_SHARE
from oracle_lib.simulate.loading import DOOR
from oracle_lib.simulate.people import CHANNELS
from oracle_lib.storage.tables import actions

_DAY_SECONDS = 86_400
_READ_SHARE = {"email": OPEN_SHARE, "dm": 0.55, "push": 0.2}
_OPENED = {"email": "email_open", "dm": "dm_read", "push": "push_open"}
_CLICKED = {"email": "email_click", "dm": "dm_reply", "push": "push_click"}


@dataclass(frozen=True)
class Lift:
    """A delivered message raises the probability of `event` within `days` by `share` (0-1), on average over users."""

    event: str
    share: float
    days: float


LIFTS: dict[str, Lift] = {
    "welcome": Lift("lesson_complete", 0.12, 3),
    "keep_going": Lift("lesson_complete", 0.04, 3),
    "stuck": Lift("lesson_complete", 0.10, 5),
    "win_back": Lift("lesson_complete", 0.08, 7),
    "upsell_momentum": Lift("purchase", 0.03, 14),
}
# Anything else that is said brings a few people to log in.
OTHER = Lift("login", 0.02, 3)


@dataclass(frozen=True)
class Delivery:
    """A message that reached somebody."""

    action_id: UUID
    user_id: str
    channel: str
    template: str | None
    at: datetime


@dataclass(frozen=True)
class Reaction:
    """One event that follows a delivery. `metadata` is as on the wire."""

    action_id: UUID
    user_id: str
    event: str
    at: datetime
    metadata: dict[str, object]

    def body(self) -> bytes:
        """Return the event's JSON; its message id is the same whenever it is drawn."""
        return json.dumps(
            {
                "userId": self.user_id,
                "event": self.event,
                "metadata": self.metadata,
                "source": "web",
                "timestamp": self.at.isoformat(),
                "messageId": f"sim-{self.action_id}-{self.event}",
            }
        ).encode()


@dataclass(frozen=True)
class RespondReport:
    """Deliveries seen, reactions posted now or before, and those that are still to come."""

    deliveries: int
    accepted: int
    duplicate: int
    to_come: int


def delivered(conn: Connection, *, since: datetime) -> list[Delivery]:
    """Return the actions executed since a moment, oldest first."""
    found = conn.execute(
        sa.select(actions.c.id, actions.c.user_id, actions.c.action_type, actions.c.template, actions.c.executed_at)
        .where(actions.c.status == "executed", actions.c.executed_at >= since)
        .order_by(actions.c.executed_at, actions.c.id)
    )
    return [Delivery(*row) for row in found]


def respond(
    conn: Connection,
    academy: Academy,
    deliveries: Sequence[Delivery],
    *,
    now: datetime,
    seed: int,
    speed: float = 1.0,
) -> RespondReport:
    """Post the reactions to `deliveries` that are due by `now`, through the real door. Does not commit.

    `speed` shortens every delay: at 1440 a day takes a minute. Calling again later posts only what is new, so long as
    seed and speed stay the same.
    """
    drawn = react(academy, deliveries, seed=seed, speed=speed)
    due = [reaction.body() for reaction in drawn if reaction.at <= now]
    report = ingest(conn, due, door=DOOR, received_at=now)
    return RespondReport(
        deliveries=len(deliveries),
        accepted=report.accepted,
        duplicate=report.duplicate,
        to_come=len(drawn) - len(due),
    )


def react(academy: Academy, deliveries: Sequence[Delivery], *, seed: int, speed: float = 1.0) -> list[Reaction]:
    """Draw what follows each delivery; the same action and seed always give the same. In order of the deliveries.

    Users who are not of this academy and channels other than e-mail, DM and push bring no reaction.
    """
    places = {name: place for place, name in enumerate(academy.truth.user_id.tolist())}
    reached = [one for one in deliveries if one.user_id in places and one.channel in CHANNELS]
    found: list[Reaction] = []
    for one in reached:
        found += _reactions(academy, one, places[one.user_id], _chances(one.action_id, seed), speed)
    return found


def _chances(action_id: UUID, seed: int) -> list[float]:
    """Return eight numbers in [0, 1), drawn from the action's id."""
    digest = hashlib.blake2b(action_id.bytes + str(seed).encode(), digest_size=64).digest()
    return [float(one) for one in np.frombuffer(digest, dtype="<u8") / 2.0**64]


def _reactions(academy: Academy, delivery: Delivery, user: int, chances: list[float], speed: float) -> list[Reaction]:
    lift = LIFTS.get(delivery.template or "", OTHER)
    warmth = float(academy.truth.response[user, CHANNELS.index(delivery.channel)])
    moved = chances[0] < lift.share * warmth
    opened = moved or chances[1] < min(_READ_SHARE[delivery.channel] * warmth, 0.95)
    clicked = moved or (opened and chances[2] < CLICK_SHARE)
    delay = _until_read(academy, delivery, user, chances)
    names: dict[str, object] = {"emailId": str(delivery.action_id), "actionId": str(delivery.action_id)}
    steps: list[tuple[str, float, dict[str, object]]] = []
    if opened:
        steps.append((_OPENED[delivery.channel], delay, names))
    if clicked:
        steps.append((_CLICKED[delivery.channel], delay + 20 + 100 * chances[3], names))
    if moved:
        # Most follow at once, some in the days after, all within the lift's days.
        most = 0.95 * lift.days * _DAY_SECONDS
        back = min(delay + 200 + 0.4 * most * chances[4] ** 3, most)
        steps += [("login", back, {"device": "desktop"})]
        if lift.event != "login":
            steps.append((lift.event, back + 900, _facts(academy, lift.event, user, delivery.at)))
    return [
        Reaction(
            action_id=delivery.action_id,
            user_id=delivery.user_id,
            event=event,
            # However fast time runs, one step comes after the other.
            at=delivery.at + timedelta(seconds=max(after / speed, 1.0 + step)),
            metadata=metadata,
        )
        for step, (event, after, metadata) in enumerate(steps)
    ]


def _until_read(academy: Academy, delivery: Delivery, user: int, chances: list[float]) -> float:
    """Return after how many seconds it is read: some at once, most at the user's usual hour, give or take an hour."""
    if chances[5] < 0.25:
        return 60 + 3_000 * chances[6]
    local = academy.local_hour(user, delivery.at)
    hours = (float(academy.truth.usual_hour[user]) + 2 * (chances[6] - 0.5) - local) % 24
    return 60 + hours * 3600


def _facts(academy: Academy, event: str, user: int, at: datetime) -> dict[str, object]:
    """Return the metadata of what the message brought about: the user's next lesson, or the next course's price."""
    course, lesson = academy.next_lesson(user, at)
    if event == "lesson_complete":
        offer = campus.COURSES[course]
        return {
            "courseId": offer.id,
            "moduleId": offer.module_id(lesson),
            "lessonId": offer.lesson_id(lesson),
            "timeSpent": 600,
        }
    if event == "purchase":
        offer = campus.COURSES[int(campus.after(np.asarray(course)))]
        return {"courseId": offer.id, "amount": str(offer.price), "currency": campus.CURRENCY}
    return {}
