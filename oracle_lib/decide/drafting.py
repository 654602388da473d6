"""Candidates become pending actions: each message filled in with facts of its user and cause, its reason beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.decide import content, firing, templates
from oracle_lib.decide.candidates import candidates
from oracle_lib.decide.definition import Words
from oracle_lib.decide.evidence import Compared, compared, evidence
from oracle_lib.decide.layout import Layout
from oracle_lib.decide.rules_engine import Rule
from oracle_lib.errors import Invalid
from oracle_lib.storage.tables import activity, courses, segments, skips, users

_AT_ONCE = 2000
_INSERT = sa.text(
    "INSERT INTO actions (rule_id, rule_version, user_id, cause, action_type, priority, message_class, topic, template,"
    " subject, content, preheader, locale, language, address, content_hash, triggered_by, trigger_data, experiment_id,"
    " arm, created_at, updated_at, expires_at)"
    " SELECT * FROM jsonb_to_recordset(CAST(:drafts AS jsonb)) AS draft (rule_id uuid, rule_version int, user_id text,"
    " cause text, action_type text, priority int, message_class text, topic text, template text, subject text,"
    " content text, preheader text, locale text, language text, address text, content_hash text, triggered_by text,"
    " trigger_data jsonb, experiment_id uuid, arm text, created_at timestamptz, updated_at timestamptz,"
    " expires_at timestamptz)"
    " ON CONFLICT DO NOTHING RETURNING id, rule_id"
)
_FACTS = {name: f"fact_{name}" for name in templates.FACTS}
_PRIVATE = frozenset({"first_name", "last_name"})


@dataclass(frozen=True)
class Drafts:
    """Some thousand messages as rows of `actions`, and the rows of `skips` for those that could not be filled in."""

    rows: list[dict[str, object]]
    unfit: list[dict[str, object]]


@dataclass(frozen=True)
class _Letter:
    """What a rule says to everybody of an arm and a locale: templates, what was compared, what each message shares."""

    words: Words
    asked: Sequence[Compared]
    action_type: str
    locale: str | None
    address: str | None
    same: Mapping[str, object]


def write(
    conn: Connection,
    chosen: Sequence[Rule],
    as_of: date,
    *,
    now: datetime,
    expiry: timedelta,
    triggered_by: str | None = None,
) -> tuple[list[tuple[UUID, UUID]], int]:
    """Write out and store the candidates' messages; `triggered_by` stands on them instead of the rule's name.

    Return the id of each new action with its rule's, and how many could not be filled in; those stand in `skips`.
    """
    made: list[tuple[UUID, UUID]] = []
    unfit = 0
    standing: dict[str, object] = {"created_at": now, "updated_at": now, "expires_at": now + expiry}
    if triggered_by is not None:
        standing["triggered_by"] = triggered_by
    for some in drafts(conn, chosen, as_of):
        made += _insert(conn, [{**row, **standing} for row in some.rows])
        if some.unfit:
            conn.execute(insert(skips).on_conflict_do_nothing(), [{**row, "at": now} for row in some.unfit])
        unfit += len(some.unfit)
    return made, unfit


def drafts(conn: Connection, chosen: Sequence[Rule], as_of: date) -> Iterator[Drafts]:
    """Fill in the candidates' messages, two thousand at a time, so that no more are ever held."""
    layout = Layout.of({name: rule.definition.conditions for rule, name in firing.column_of(chosen).items()})
    by_id = {rule.id: (rule, compared(rule.definition.conditions, layout, as_of)) for rule in chosen}
    found = conn.execute(_facts(as_of, layout.columns), execution_options={"yield_per": _AT_ONCE})
    columns = list(found.keys())
    letters: dict[tuple[object, ...], _Letter] = {}
    for rows in found.partitions():
        some = Drafts([], [])
        for values in rows:
            row = dict(zip(columns, values, strict=True))
            group = (row["rule_id"], row["arm"], row["locale"])
            letter = letters.get(group)
            if letter is None:
                letter = letters[group] = _letter(*by_id[row["rule_id"]], row["arm"], row["locale"])
            try:
                some.rows.append(_draft(letter, row, as_of))
            except Invalid:
                named = {name: letter.same[name] for name in ("rule_id", "rule_version")}
                some.unfit.append({**named, "user_id": row["user_id"], "cause": row["cause"], "reason": "template"})
        yield some


def _facts(as_of: date, columns: Sequence[str]) -> sa.Select:
    """Select every candidate for a message with the facts of its user and cause and what its conditions compared."""
    matched = sa.table(firing.MATCHED, sa.column("user_id"), *map(sa.column, columns))
    fired, of_event = candidates.c.fired, courses.alias("of_event")
    facts = {
        "first_name": users.c.first_name,
        "last_name": users.c.last_name,
        "course_title": courses.c.title,
        "progress": segments.c.progress,
        "lessons_done": activity.c.lessons_done,
        "lessons_left": activity.c.lessons_in_course - activity.c.lessons_done,
        "lessons_this_week": activity.c.lesson_complete_7d,
        "days_silent": sa.literal(as_of, sa.Date) - activity.c.last_active_on,
        "engagement_level": segments.c.engagement_level,
        "lifecycle": segments.c.lifecycle,
        "event": fired["event"].as_string(),
        "event_course": of_event.c.title,
        "event_amount": fired["amount"].as_string(),
        "days_since": sa.literal(as_of, sa.Date) - sa.cast(fired["lastOn"].as_string(), sa.Date),
        "changed_from": fired["old"].as_string(),
        "changed_to": fired["new"].as_string(),
    }
    return (
        sa.select(
            candidates.c.rule_id,
            candidates.c.user_id,
            candidates.c.cause,
            # Goes as it is into what is stored.
            sa.cast(fired, sa.Text).label("fired"),
            candidates.c.experiment_id,
            candidates.c.arm,
            users.c.locale,
            *(value.label(f"fact_{name}") for name, value in facts.items()),
            *(matched.c[name] for name in columns),
        )
        .join(matched, matched.c.user_id == candidates.c.user_id)
        .join(users, users.c.id == candidates.c.user_id)
        .outerjoin(segments, segments.c.user_id == candidates.c.user_id)
        .outerjoin(activity, activity.c.user_id == candidates.c.user_id)
        .outerjoin(courses, courses.c.id == activity.c.course_id)
        .outerjoin(of_event, of_event.c.id == fired["courseId"].as_string())
        .where(candidates.c.action_type != "tag")
        .order_by(candidates.c.user_id, candidates.c.priority.desc(), candidates.c.rule_id)
    )


def _letter(rule: Rule, asked: Sequence[Compared], arm: str | None, locale: str | None) -> _Letter:
    said = rule.definition
    message = said.message(arm)
    language = message.language_for(locale)
    return _Letter(
        words=message.words_in(language),
        asked=asked,
        action_type=said.action_type,
        locale=locale,
        address=message.address,
        same={
            "rule_id": rule.id,
            "rule_version": rule.version,
            "action_type": said.action_type,
            "priority": said.priority,
            "message_class": said.message_class,
            "topic": said.topic,
            "template": message.template,
            "locale": locale,
            "language": language,
            "address": message.address,
            "triggered_by": said.name,
            "arm": arm,
        },
    )


def _draft(letter: _Letter, row: Mapping[str, object], as_of: date) -> dict[str, object]:
    """Return what one candidate is told and why. Raises `Invalid` when the words cannot be filled in."""
    user_id = str(row["user_id"])
    facts = {name: row[column] for name, column in _FACTS.items()}
    words = letter.words.filled_in(facts)
    sealed = content.payload(
        user_id=user_id,
        action_type=letter.action_type,
        subject=words.subject,
        content=words.content,
        preheader=words.preheader,
        locale=letter.locale,
        address=letter.address,
    )
    why = {
        "fired": msgspec.Raw(str(row["fired"])),
        "matched": evidence(letter.asked, row),
        "facts": {name: value for name, value in facts.items() if name not in _PRIVATE and value is not None},
        "asOf": as_of.isoformat(),
    }
    return {
        **letter.same,
        "user_id": user_id,
        "cause": row["cause"],
        "subject": words.subject,
        "content": words.content,
        "preheader": words.preheader,
        "content_hash": content.content_hash(sealed),
        "trigger_data": why,
        "experiment_id": row["experiment_id"],
    }


def _insert(conn: Connection, drafts: list[dict[str, object]]) -> list[tuple[UUID, UUID]]:
    """Store the drafts, those of a known cause aside; return the id of each new action with its rule's.

    All go as one JSON parameter: one parameter a value was measured at ten times the cost.
    """
    if not drafts:
        return []
    stored = conn.execute(_INSERT, {"drafts": msgspec.json.encode(drafts).decode()})
    return [(action_id, rule_id) for action_id, rule_id in stored]
