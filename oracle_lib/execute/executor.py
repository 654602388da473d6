"""Sends what is approved and due: claim, commit, ask the guardrails again, deliver, finish.

Every line may be the last one of this process. Before delivery the claim is committed with a lease; after it the result
is written only if the fence is still mine. What lies between is tried again under the same idempotency key, so a
channel that knows keys delivers once; one that does not leaves `unknown` for a webhook or a person. What is sent are
the bytes that were frozen at approval. Guarantee G6: `tests/guarantees/test_g6_*.py`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import content, guardrails
from oracle_lib.decide.guardrails import Limits, No
from oracle_lib.errors import Conflict
from oracle_lib.execute import claims, inbox, messages, own_events, records, unsubscribe_links
from oracle_lib.execute.channels import Ambiguous, Answer, Broken, Channel, Delivered, Message, Refused, installed
from oracle_lib.execute.claims import MAX_ATTEMPTS, Claim
from oracle_lib.execute.own_events import Happened
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import actions, skips

_log = structlog.get_logger(__name__)

# The named lines between two commits, in order, at which tests stop a worker.
STEPS = ("after_claim", "before_send", "after_send_before_commit", "after_commit")
Step = Callable[[str], None]

# How long messages wait before a channel that needs a person is asked again.
_LOOK_AGAIN = timedelta(minutes=15)


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
    became: Counter[str] = Counter()
    with _channels(channels, store, settings) as ways:
        worker = _Worker(store, settings, owner, ways, step or _nothing)
        while True:
            with store.transaction() as conn:
                became["unknown"] += claims.set_aside_lost(conn, worker.safe_channels, owner=owner)
                mine = claims.claim(conn, claims.due(), owner=owner, lease=worker.lease, limit=limit)
            if not mine:
                return ExecuteReport(**became)
            became.update(worker.send(one) for one in mine)


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
        worker = _Worker(store, settings, owner, ways, _nothing)
        with store.transaction() as conn:
            ready = sa.and_(actions.c.status == "approved", claims.final())
            which = sa.and_(actions.c.id == action_id, sa.or_(ready, claims.abandoned()))
            mine = claims.claim(conn, which, owner=owner, lease=worker.lease)
            if not mine:
                raise _not_ready(records.get(conn, action_id))
        worker.send(mine[0])
    with store.transaction() as conn:
        return records.get(conn, action_id)


def idempotency_key(settings: Settings, action_id: UUID) -> str:
    """Return the key under which a provider delivers an action once, however often it is asked."""
    return f"oracle/{settings.environment}/action/{action_id}"


class _Worker:
    """Sends claimed actions one by one."""

    def __init__(
        self, store: Store, settings: Settings, owner: str, channels: Mapping[str, Channel], step: Step
    ) -> None:
        self.store = store
        self.settings = settings
        self.owner = owner
        self.channels = channels
        self.step = step
        self.lease = timedelta(seconds=settings.lease_seconds)
        self.limits = Limits.of(settings)
        self.broken: dict[str, Broken] = {}
        self.link_key: bytes | None = None

    @property
    def safe_channels(self) -> list[str]:
        """The channels that deliver a key once."""
        return sorted({channel.name for channel in self.channels.values() if channel.idempotent})

    def send(self, mine: Claim) -> str:
        """Send one action; return what became of it, by the names of `ExecuteReport`."""
        self.step("after_claim")
        channel = self.channels[mine.action_type]
        with self.store.transaction() as conn:
            if ended := self._ask_again(conn, mine, channel):
                return ended
            message = self._message(conn, mine)
        self.step("before_send")
        answer = self._deliver(message, channel)
        self.step("after_send_before_commit")
        with self.store.transaction() as conn:
            became = self._finish(conn, mine, channel, answer)
        self.step("after_commit")
        return became

    def _ask_again(self, conn: Connection, mine: Claim, channel: Channel) -> str | None:
        """Check what may have changed since approval and hold the lease; return the end if there is nothing to send."""
        if broken := self.broken.get(channel.name):
            return self._wait_for_mending(conn, mine, broken)
        if content.content_hash(mine.payload) != mine.approved_hash:
            return self._end(conn, mine, "failed", "payload_changed")
        if doubt := _may_be_sent_twice(mine, channel):
            return self._end(conn, mine, "unknown", doubt)
        no = guardrails.check_action(conn, mine.id, limits=self.limits, reaches_people=channel.reaches_people)
        if no is not None:
            ended = self._refused(conn, mine, no)
            if ended != "dropped":
                _keep_skip(conn, mine.id, no.reason)
            return ended
        if not claims.renew(conn, mine, channel=channel.name, lease=self.lease):
            return "dropped"
        return None

    def _message(self, conn: Connection, mine: Claim) -> Message:
        """Compose what a channel is handed, with the address that an e-mail goes to now and its way out."""
        return messages.compose(conn, mine, mine.payload, self.settings, lambda: self._link(conn, mine.id))

    def _link(self, conn: Connection, action_id: UUID) -> str:
        self.link_key = self.link_key or unsubscribe_links.key(conn, self.settings)
        return unsubscribe_links.link(self.settings.public_url, self.link_key, action_id)

    def _refused(self, conn: Connection, mine: Claim, no: No) -> str:
        if no.until is not None:
            return "held" if claims.hold(conn, mine, no.reason, no.until, owner=self.owner) else "dropped"
        # An earlier try may have arrived: then nobody can say that it was not sent.
        return self._end(conn, mine, "skipped" if mine.tried_for is None else "unknown", no.reason)

    def _deliver(self, message: Message, channel: Channel) -> Answer:
        key = idempotency_key(self.settings, message.action_id)
        try:
            return channel.deliver(message, key)
        except Exception as error:  # noqa: BLE001  a provider's library is an edge; one bad message must not stop the others
            _log.warning(
                "channel_raised", channel=channel.name, action=str(message.action_id), error=type(error).__name__
            )
            return Ambiguous(f"{channel.name} raised {type(error).__name__}")

    def _finish(self, conn: Connection, mine: Claim, channel: Channel, answer: Answer) -> str:
        match answer:
            case Delivered(provider_id):
                sent_hash = content.content_hash(mine.payload)
                if not claims.finish(
                    conn, mine, "executed", owner=self.owner, provider_id=provider_id, sent_hash=sent_hash
                ):
                    return "dropped"
                if mine.action_type == "dm":
                    inbox.keep(conn, mine, idempotency_key(self.settings, mine.id))
                happened = Happened(mine.id, f"{mine.action_type}_sent", conn.scalars(sa.select(sa.func.now())).one())
                own_events.add(conn, [happened], settings=self.settings, now=happened.at)
                return "executed"
            case Refused(reason, permanent, retry_after):
                # An earlier try under the same key may have arrived: giving up then says that nobody knows.
                given_up = "unknown" if channel.idempotent and mine.tried_for is not None else "failed"
                status = "failed" if permanent else self._again(mine, given_up)
                return self._end(conn, mine, status, reason, not_before=retry_after)
            case Broken(reason):
                _log.error("channel_broken", channel=channel.name, reason=reason)
                self.broken[channel.name] = answer
                return self._wait_for_mending(conn, mine, answer)
            case Ambiguous(reason):
                return self._end(conn, mine, self._again(mine, "unknown") if channel.idempotent else "unknown", reason)

    def _again(self, mine: Claim, otherwise: str) -> str:
        return "approved" if mine.attempts < MAX_ATTEMPTS else otherwise

    def _wait_for_mending(self, conn: Connection, mine: Claim, broken: Broken) -> str:
        """Hold the action until somebody may have mended its channel; in this run nothing more is asked of it."""
        return "held" if claims.hold(conn, mine, broken.reason, _LOOK_AGAIN, owner=self.owner) else "dropped"

    def _end(
        self, conn: Connection, mine: Claim, status: str, reason: str, *, not_before: timedelta | None = None
    ) -> str:
        done = claims.finish(conn, mine, status, owner=self.owner, reason=reason, not_before=not_before)
        if not done:
            return "dropped"
        return "retried" if status == "approved" else status


def _not_ready(standing: records.Action) -> Conflict:
    told = f"The action is {standing.status}; only an approved one is executed."
    if standing.status == "approved" and standing.undo_until is not None:
        told = f"The approval may be taken back until {standing.undo_until.isoformat()}; it is executed then."
    return Conflict(told, current=records.wire_state(standing))


def _may_be_sent_twice(mine: Claim, channel: Channel) -> str | None:
    """Return why an earlier try may have arrived and nobody here would notice: then only a person may try again."""
    if mine.tried_for is None:
        return None
    if mine.channel != channel.name:
        return "channel_changed"
    return "key_expired" if channel.key_lives is not None and mine.tried_for > channel.key_lives else None


def _keep_skip(conn: Connection, action_id: UUID, reason: str) -> None:
    columns = ["rule_id", "rule_version", "user_id", "cause", "reason", "action_id"]
    about = sa.select(
        actions.c.rule_id,
        actions.c.rule_version,
        actions.c.user_id,
        sa.func.coalesce(actions.c.cause, "manual"),
        sa.literal(reason),
        actions.c.id,
    ).where(actions.c.id == action_id)
    conn.execute(insert(skips).from_select(columns, about).on_conflict_do_nothing())


def _channels(
    given: Mapping[str, Channel] | None, store: Store, settings: Settings
) -> AbstractContextManager[Mapping[str, Channel]]:
    return installed.opened(store, settings) if given is None else nullcontext(given)


def _nothing(step: str) -> None:
    """Do nothing at a step: the executor of every day."""
