"""Sends what is approved and due: claim, commit, ask the guardrails again, deliver, finish.

Every line may be the last one of this process. Before delivery the claim is committed with a lease; after it the result
is written only if the fence is still mine. What lies between is tried again under the same idempotency key, so a
channel that knows keys delivers once; one that does not leaves `unknown` for a webhook or a person. What is sent are
the bytes that were frozen at approval. Guarantee G6: `tests/guarantees/test_g6_*.py`.

One thread talks to the database, a few talk to providers. As many messages are prepared in a transaction as there are
free senders, and each starts when that has committed: a lease is a moment old when its message goes out, and after a
stop nothing starts but what a sender was just handed. What came back meanwhile is finished together.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from time import sleep
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from oracle_lib.errors import Conflict
from oracle_lib.execute import after_sending, before_sending, claims, records
from oracle_lib.execute.after_sending import LOOK_AGAIN
from oracle_lib.execute.before_sending import Preparation
from oracle_lib.execute.channel_limits import ChannelLimits
from oracle_lib.execute.channels import (
    Ambiguous,
    Answer,
    Broken,
    Channel,
    Delivered,
    Limited,
    Message,
    Pause,
    idempotency_key,
    installed,
)
from oracle_lib.execute.claims import Claim, End
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions

_log = structlog.get_logger(__name__)

# The named lines between two commits, in order, at which tests stop a worker.
STEPS = ("after_claim", "before_send", "after_send_before_commit", "after_commit")
Step = Callable[[str], None]

# Answers that come so soon after the first are written down together.
_GATHERED_SECONDS = 0.01
# A pause up to so long is waited out with the messages in hand; for a longer one they are put back.
_WAITED_OUT = timedelta(seconds=2)


@dataclass(frozen=True)
class ExecuteReport:
    """What became of the actions that were taken.

    `held` wait for the end of quiet hours or of a stop, or until a broken channel is mended; `dropped` were taken over
    by another executor meanwhile.
    """

    executed: int = 0
    skipped: int = 0
    failed: int = 0
    retried: int = 0
    unknown: int = 0
    held: int = 0
    dropped: int = 0

    @property
    def taken(self) -> int:
        """How many were taken in all."""
        return self.executed + self.skipped + self.failed + self.retried + self.unknown + self.held + self.dropped


def waiting(conn: Connection) -> int:
    """Return how many actions an executor would take now."""
    return conn.scalar(sa.select(sa.func.count()).select_from(actions).where(claims.due())) or 0


def run_due(
    store: Store,
    *,
    settings: Settings,
    owner: str,
    limit: int = 100,
    channels: Mapping[str, Channel] | None = None,
    step: Step | None = None,
) -> ExecuteReport:
    """Send everything that is approved and due, `limit` actions a claim, until nothing is left to take.

    `owner` names this executor in leases and history. `channels` is by action type (default: as the settings say).
    `step` is called with the name of each of `STEPS`.
    """
    with _channels(channels, store, settings) as ways:
        crew = _Crew(store, settings, owner, ways, step or _nothing, senders=settings.senders)

        def more(conn: Connection) -> list[Claim]:
            crew.became["unknown"] += claims.set_aside_lost(conn, crew.safe_channels, owner=owner)
            return claims.claim(conn, claims.due(), owner=owner, lease=crew.lease, limit=limit)

        return crew.run(more)


def run_one(
    store: Store,
    action_id: UUID,
    *,
    settings: Settings,
    owner: str,
    channels: Mapping[str, Channel] | None = None,
) -> records.Action:
    """Send one approved action now, also before its time; return it as it then stands.

    Raises `NotFound`, and `Conflict` with the current state when it is not approved, when its approval may still be
    taken back, or when somebody else has it in hand.
    """
    with _channels(channels, store, settings) as ways:
        crew = _Crew(store, settings, owner, ways, _nothing, senders=1)
        ready = sa.and_(actions.c.status == "approved", claims.final())
        which = sa.and_(actions.c.id == action_id, sa.or_(ready, claims.abandoned()))
        with store.transaction() as conn:
            mine = claims.claim(conn, which, owner=owner, lease=crew.lease)
            if not mine:
                raise _not_ready(records.get(conn, action_id))
        crew.waiting.extend(mine)
        crew.run(_no_more)
    with store.transaction() as conn:
        return records.get(conn, action_id)


class _Crew:
    """Sends claimed actions, up to `senders` at once."""

    def __init__(
        self, store: Store, settings: Settings, owner: str, channels: Mapping[str, Channel], step: Step, *, senders: int
    ) -> None:
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.waiting: deque[Claim] = deque()
        self.became: Counter[str] = Counter()
        self._store = store
        self._settings = settings
        self._owner = owner
        self._channels = channels
        self._step = step
        self._senders = senders
        self._preparation = Preparation(settings, channels, owner)
        self._limits = ChannelLimits()
        self._flying: dict[Future[Answer], Claim] = {}

    @property
    def safe_channels(self) -> list[str]:
        """The channels that deliver a key once."""
        return sorted({channel.name for channel in self._channels.values() if channel.idempotent})

    def run(self, more: Callable[[Connection], list[Claim]]) -> ExecuteReport:
        """Send what waits, and what `more` claims whenever nothing does, until that is nothing."""
        with ThreadPoolExecutor(self._senders, thread_name_prefix="sender") as pool:
            while True:
                if not self.waiting and len(self._flying) < self._senders:
                    self._claim(more)
                if not self.waiting and not self._flying:
                    return ExecuteReport(**self.became)
                if batch := self._next():
                    self._start(pool, batch)
                opens_in = min((self._limits.opens_in(self._channel(mine).name) for mine in self.waiting), default=0)
                if self._flying:
                    wait(self._flying, opens_in or None, FIRST_COMPLETED)
                    self._finish(wait(self._flying, _GATHERED_SECONDS).done)
                else:
                    sleep(opens_in)

    def _claim(self, more: Callable[[Connection], list[Claim]]) -> None:
        with self._store.transaction() as conn:
            mine = more(conn)
        self.waiting.extend(mine)
        if mine:
            self._step("after_claim")

    def _next(self) -> list[Claim]:
        """Take what free senders may be handed now out of what waits."""
        open_ones = [mine for mine in self.waiting if self._limits.room(self._channel(mine).name) > 0]
        batch = []
        for mine in before_sending.one_a_user(open_ones, self._senders - len(self._flying)):
            if self._limits.room(self._channel(mine).name) > 0:
                self._limits.take(self._channel(mine).name)
                self.waiting.remove(mine)
                batch.append(mine)
        return batch

    def _start(self, pool: ThreadPoolExecutor, batch: list[Claim]) -> None:
        with self._store.transaction() as conn:
            prepared = self._preparation.prepare(conn, batch)
        self._count(prepared.ends, of=len(batch) - len(prepared.messages))
        if prepared.messages:
            self._step("before_send")
        for mine, message in prepared.messages:
            self._flying[pool.submit(self._deliver, message)] = mine

    def _finish(self, arrived: set[Future[Answer]]) -> None:
        if not arrived:
            return
        answers = [(self._flying.pop(future), future.result()) for future in arrived]
        self._step("after_send_before_commit")
        with self._store.transaction() as conn:
            ends = [after_sending.end_of(mine, self._channel(mine), answer) for mine, answer in answers]
            ours = after_sending.finish(conn, ends, owner=self._owner, settings=self._settings)
            for mine, answer in answers:
                self._heed(conn, self._channel(mine), answer)
        self._count(ours, of=len(answers))
        self._step("after_commit")

    def _heed(self, conn: Connection, channel: Channel, answer: Answer) -> None:
        """Leave a channel alone for as long as its answer asks."""
        pause, reason = _asked(answer)
        if pause is None:
            return
        self._limits.heed(channel.name, pause)
        if isinstance(answer, Broken):
            _log.error("channel_broken", channel=channel.name, reason=reason)
        if pause.span <= _WAITED_OUT:
            return
        back = [mine for mine in self.waiting if self._channel(mine).name == channel.name]
        for mine in back:
            self.waiting.remove(mine)
        ends = [End(mine, "held", reason, pause.span) for mine in back]
        done = claims.finish(conn, ends, owner=self._owner)
        self._count([end for end in ends if end.mine.id in done], of=len(ends))
        types = [action_type for action_type, used in self._channels.items() if used.name == channel.name]
        claims.put_off(conn, actions.c.action_type.in_(types), reason, sa.func.now() + pause.span)

    def _deliver(self, message: Message) -> Answer:
        channel = self._channels[message.action_type]
        try:
            return channel.deliver(message, idempotency_key(self._settings.environment, message.action_id))
        except Exception as error:  # noqa: BLE001  a provider's library is an edge; one bad message must not stop the others
            _log.warning(
                "channel_raised", channel=channel.name, action=str(message.action_id), error=type(error).__name__
            )
            return Ambiguous(f"{channel.name} raised {type(error).__name__}")

    def _channel(self, mine: Claim) -> Channel:
        return self._channels[mine.action_type]

    def _count(self, ends: list[End], *, of: int) -> None:
        """Count what became of so many claims; those without an end were taken over by another executor."""
        self.became.update(end.became for end in ends)
        self.became["dropped"] += of - len(ends)


def _not_ready(standing: records.Action) -> Conflict:
    told = f"The action is {standing.status}; only an approved one is executed."
    if standing.status == "approved" and standing.undo_until is not None:
        told = f"The approval may be taken back until {standing.undo_until.isoformat()}; it is executed then."
    return Conflict(told, current=records.wire_state(standing))


def _asked(answer: Answer) -> tuple[Pause | None, str]:
    """Return how long a channel wants to be left alone, and why."""
    match answer:
        case Delivered(_, pause):
            return pause, "rate_limit"
        case Limited(reason, pause):
            return pause, reason
        case Broken(reason):
            return Pause(LOOK_AGAIN), reason
        case _:
            return None, ""


def _channels(
    given: Mapping[str, Channel] | None, store: Store, settings: Settings
) -> AbstractContextManager[Mapping[str, Channel]]:
    return installed.opened(store, settings) if given is None else nullcontext(given)


def _no_more(_: Connection) -> list[Claim]:
    """Claim nothing beyond what was asked for."""
    return []


def _nothing(step: str) -> None:
    """Do nothing at a step: the executor of every day."""
