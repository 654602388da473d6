"""One version of a rule, and what follows from it: what fires it, what it rests on, which arm gets which words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from oracle_lib.decide import conditions, fields, templates
from oracle_lib.decide.conditions import Condition, DaysSince, EventCount, EventSum, Followed, Leaf
from oracle_lib.storage.tables import ACTION_TYPES

TRIGGERS = ("event_based", "time_based", "segment_based")
RULE_ACTIONS = (*ACTION_TYPES, "tag")
# What a message that reaches no single user is addressed to, as `actionData` calls it.
ADDRESSES = {"post": "community", "alert": "team"}
# The longest name of a topic.
MAX_TOPIC = 60
# The arms of a rule's experiment that have no variant's name: who gets nothing, and who gets the rule's own message.
HOLDOUT, BASE = "holdout", "a"
# When what was approved goes: at once, or in the part of the day in which the user usually comes.
AT_ONCE, BEST_TIME = "at_once", "best_time"


@dataclass(frozen=True)
class Words:
    """Content, subject and what mailboxes show beside it, in one language: templates, or these filled in."""

    content: str
    subject: str | None = None
    preheader: str | None = None

    def filled_in(self, facts: Mapping[str, object]) -> "Words":
        """Return these templates filled in. Raises `Invalid` where that cannot be done."""
        return Words(
            content=templates.body(self.content, facts),
            subject=templates.line(self.subject, facts) if self.subject else None,
            preheader=templates.line(self.preheader, facts) or None if self.preheader else None,
        )


@dataclass(frozen=True)
class Message:
    """What is proposed. `template` is a name for people; `locales` holds the same in other languages, by tag.

    `address` is the community of a post, or the team of an alert.
    """

    words: Words
    template: str | None = None
    address: str | None = None
    locales: tuple[tuple[str, Words], ...] = ()

    def language_for(self, locale: str | None) -> str | None:
        """Return the tag of the words for a user's language: `pt-BR`, else `pt`, else None, the message's own."""
        by_tag = {tag.lower(): tag for tag, _ in self.locales}
        asked = (locale or "").lower()
        return by_tag.get(asked) or by_tag.get(asked.split("-")[0])

    def words_in(self, language: str | None) -> Words:
        """Return the words of a tag of `locales`; None: the message's own."""
        return dict(self.locales)[language] if language is not None else self.words


@dataclass(frozen=True)
class Variant:
    """Another message, for `share` percent of the users."""

    name: str
    share: int
    message: Message


@dataclass(frozen=True)
class TagChange:
    """A tag that is set, or taken away."""

    tag: str
    remove: bool = False


@dataclass(frozen=True)
class Goal:
    """What counts as success: the event, within so many days after delivery."""

    event: str
    within_days: int


@dataclass(frozen=True)
class Definition:
    """One version of a rule. `cooldown` in hours, `priority` 1-10 (10 most urgent), `max_per_user` None: no limit.

    `holdout` percent of the users get nothing, so that the rest can be compared with them. `topic` is what it is about,
    as users read it where they may refuse just that; rules of the same topic are refused together.
    """

    name: str
    trigger: str
    conditions: Condition
    action_type: str
    action: Message | TagChange
    description: str | None = None
    is_active: bool = True
    priority: int = 5
    cooldown: int = 24
    max_per_user: int | None = None
    expires_at: datetime | None = None
    approval: str = "review"
    message_class: str = "marketing"
    topic: str | None = None
    goal: Goal | None = None
    holdout: int = 0
    variants: tuple[Variant, ...] = ()
    send_at: str = AT_ONCE

    @property
    def fires_on(self) -> frozenset[str]:
        """The events that fire an event rule: those its conditions count, add up or await as having happened."""
        asserted = conditions.leaves(self.conditions, asserted=True)
        return frozenset(event for leaf in asserted for event in _happened(leaf))

    @property
    def moved_by(self) -> frozenset[str]:
        """The fields of `segment_changes` that fire a segment rule."""
        return frozenset(field.moves for field in self._mentioned if field.moves)

    @property
    def rests_on(self) -> frozenset[str]:
        """The targets of the models whose word the conditions take."""
        return frozenset(field.target for field in self._mentioned if field.target)

    @property
    def _mentioned(self) -> list[fields.Field]:
        found = (conditions.field_of(leaf) for leaf in conditions.leaves(self.conditions))
        return [field for field in found if field]

    @property
    def anchor(self) -> DaysSince | Followed | None:
        """The leaf that fires a time rule: the first that asks for more days since an event, or what did not follow."""
        for leaf in conditions.leaves(self.conditions, asserted=True):
            match leaf:
                case DaysSince(op=">" | ">=" | "=") | Followed(follows=False):
                    return leaf
        return None

    @property
    def shares(self) -> Mapping[str, int]:
        """The arms of the rule's experiment and their percent of users, 100 in all; one arm: there is none."""
        held = {HOLDOUT: self.holdout} if self.holdout else {}
        varied = {variant.name: variant.share for variant in self.variants}
        return {**held, BASE: 100 - self.holdout - sum(varied.values()), **varied}

    def message(self, arm: str | None) -> Message:
        """Return what the users of an arm get; None is nobody's arm and gets the rule's own message."""
        by_name = {variant.name: variant.message for variant in self.variants}
        made = by_name.get(arm or BASE, self.action)
        assert isinstance(made, Message), "a tag is not a message"  # noqa: S101
        return made


def _happened(leaf: Leaf) -> tuple[str, ...]:
    """Return the events that can make a leaf true by happening."""
    match leaf:
        case EventCount(event, _, op, value) if _asks_for_some(op, value):
            return (event,)
        case EventSum(of, _, op, value) if _asks_for_some(op, value):
            return conditions.SUMMED[of]
        case Followed(first, then, follows):
            return (first, then) if follows else (first,)
        case _:
            return ()


def _asks_for_some(op: str, value: float) -> bool:
    return op == ">" or (op in {">=", "="} and value > 0)
