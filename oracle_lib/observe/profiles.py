"""Who the people are: names, zone, traits and consent; every change of them is kept in `profile_changes`.

A change names only what it changes. Traits and consent are changed one by one: a trait or channel that is not named
stays. What was stored before can be worked out from `profile_changes`, so that a past day can be judged as it was.
"""

import json
import re
import zoneinfo
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from oracle_lib.errors import Invalid, NotFound
from oracle_lib.observe import wire
from oracle_lib.storage.tables import dirty_users, profile_changes, users

CONSENT_CHANNELS = ("email", "dm", "push", "post")
MAX_NAME = 200
_MAX_EMAIL = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f<>,;]+@[^@\s\x00-\x1f\x7f<>,;]+\.[^@\s\x00-\x1f\x7f<>,;.]+")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Keep(Enum):
    """Says of a field that it stays as it is; `None` clears it."""

    KEEP = auto()


KEEP = Keep.KEEP


@dataclass(frozen=True)
class Profile:
    """One user as known now. `consent` holds only the channels somebody answered for; times are UTC."""

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    time_zone: str | None
    locale: str | None
    joined_at: datetime | None
    traits: Mapping[str, object]
    consent: Mapping[str, bool]
    is_test: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ProfileChange:
    """What to change. A trait or channel given as None is forgotten; one that is not named stays."""

    email: str | Keep | None = KEEP
    first_name: str | Keep | None = KEEP
    last_name: str | Keep | None = KEEP
    time_zone: str | Keep | None = KEEP
    locale: str | Keep | None = KEEP
    joined_at: datetime | Keep | None = KEEP
    is_test: bool | Keep = KEEP
    traits: Mapping[str, object] = field(default_factory=dict)
    consent: Mapping[str, bool | None] = field(default_factory=dict)


_PLAIN = {
    "email": "email",
    "first_name": "firstName",
    "last_name": "lastName",
    "time_zone": "timeZone",
    "locale": "locale",
    "joined_at": "joinedAt",
    "is_test": "isTest",
}


def get(conn: Connection, user_id: str) -> Profile:
    """Return a user's profile. Raises `NotFound`."""
    row = conn.execute(sa.select(*_COLUMNS).where(users.c.id == user_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no user {user_id}.")
    return _profile(row)


def find(conn: Connection, user_ids: Collection[str]) -> dict[str, Profile]:
    """Return the profiles of those of `user_ids` that have one."""
    rows = conn.execute(sa.select(*_COLUMNS).where(_among(user_ids)))
    return {row.id: _profile(row) for row in rows}


def put(conn: Connection, user_id: str, change: ProfileChange, *, source: str, now: datetime) -> Profile:
    """Change a user's profile, making it if there is none; return it as it stands.

    Each field that becomes another is a row in `profile_changes`, signed with `source`, and the user is queued to be
    analyzed again. The same change twice writes nothing the second time. Raises `Invalid` with the wire's field name.
    """
    wire.check_id("userId", user_id)
    refused = put_all(conn, [(user_id, check(change))], source=source, now=now)
    if refused:
        raise refused[0]
    return get(conn, user_id)


def put_all(
    conn: Connection, changes: Sequence[tuple[str, ProfileChange]], *, source: str, now: datetime
) -> dict[int, Invalid]:
    """Change many profiles as `put` does one; return, by place in `changes`, those whose traits would grow too large.

    Ids and changes have been checked. Several changes of one user are made one after the other.
    """
    if not changes:
        return {}
    ids = sorted({user_id for user_id, _ in changes})
    fresh = insert(users).on_conflict_do_nothing().returning(users.c.id)
    made = set(conn.execute(fresh, [{"id": user_id, "created_at": now} for user_id in ids]).scalars())
    found = conn.execute(sa.select(*_COLUMNS).where(_among(ids)).order_by(users.c.id).with_for_update())
    before = {row.id: _profile(row) for row in found}
    after = dict(before)
    refused: dict[int, Invalid] = {}
    for place, (user_id, change) in enumerate(changes):
        try:
            after[user_id] = _applied(after[user_id], change)
        except Invalid as error:
            refused[place] = error
    _write(conn, before, after, made, source=source, now=now)
    return refused


def _write(
    conn: Connection,
    before: Mapping[str, Profile],
    after: Mapping[str, Profile],
    made: Collection[str],
    *,
    source: str,
    now: datetime,
) -> None:
    """Store the profiles that differ, each change of a field, and who is to be analyzed again."""
    changes = [
        {"user_id": user_id, "source": source, "changed_at": now, **row}
        for user_id, old in before.items()
        for row in _differences(old, after[user_id])
    ]
    changed = sorted({str(row["user_id"]) for row in changes} | set(made))
    if not changed:
        return
    values = {name: sa.bindparam(f"new_{name}", type_=users.c[name].type) for name in (*_PLAIN, "traits", "consent")}
    update = sa.update(users).where(users.c.id == sa.bindparam("user")).values(**values, updated_at=now)
    rows = [{"user": one, **{f"new_{name}": getattr(after[one], name) for name in values}} for one in changed]
    conn.execute(update, rows)
    if changes:
        conn.execute(sa.insert(profile_changes), changes)
    waiting = [{"stage": "activity", "user_id": user_id, "cause": "profile"} for user_id in changed]
    conn.execute(sa.insert(dirty_users), waiting)


_COLUMNS = tuple(users.c[name] for name in Profile.__dataclass_fields__)


def _among(user_ids: Collection[str]) -> sa.ColumnElement[bool]:
    return users.c.id == sa.any_(sa.bindparam("ids", sorted(user_ids), type_=sa.ARRAY(sa.Text)))


def _profile(row: sa.Row) -> Profile:
    return Profile(**row._mapping)


def blanks(mine: Profile | None, theirs: Profile) -> ProfileChange:
    """Return the change that fills what is unknown of `mine` with what is known of `theirs`."""
    fields = [name for name in _PLAIN if name != "is_test" and getattr(theirs, name) is not None]
    return ProfileChange(
        **{name: getattr(theirs, name) for name in fields if mine is None or getattr(mine, name) is None},
        traits={name: value for name, value in theirs.traits.items() if mine is None or name not in mine.traits},
        consent={name: value for name, value in theirs.consent.items() if mine is None or name not in mine.consent},
    )


def _applied(old: Profile, change: ProfileChange) -> Profile:
    named = {name: getattr(change, name) for name in _PLAIN if getattr(change, name) is not KEEP}
    traits = {name: value for name, value in {**old.traits, **change.traits}.items() if value is not None}
    consent = {name: value for name, value in {**old.consent, **change.consent}.items() if value is not None}
    wire.encode_facts("traits", traits)
    return replace(old, **named, traits=traits, consent=consent)


def _differences(old: Profile, new: Profile) -> list[dict[str, object]]:
    """Return one row for each field, trait or channel that differs."""
    pairs = [(wire_name, getattr(old, name), getattr(new, name)) for name, wire_name in _PLAIN.items()]
    for group in ("traits", "consent"):
        before, after = getattr(old, group), getattr(new, group)
        pairs += [(f"{group}.{name}", before.get(name), after.get(name)) for name in sorted({*before, *after})]
    return [
        {"field": name, "old": _as_json(before), "new": _as_json(after)}
        for name, before, after in pairs
        if json.dumps(_as_json(before), sort_keys=True) != json.dumps(_as_json(after), sort_keys=True)
    ]


def _as_json(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def check(change: ProfileChange) -> ProfileChange:
    """Refuse what cannot be right; return the change with times in UTC. Raises `Invalid` with the wire's field."""
    _check_email(change.email)
    for name, value in (("firstName", change.first_name), ("lastName", change.last_name)):
        if isinstance(value, str) and (not value.strip() or len(value) > MAX_NAME or _CONTROL.search(value)):
            raise Invalid(f"`{name}` must have 1 to {MAX_NAME} characters on one line.", field=name, code="bad_name")
    if isinstance(change.time_zone, str) and change.time_zone not in _time_zones():
        raise Invalid(
            "`timeZone` must be a name of the IANA data base, e.g. `Europe/Berlin`.", field="timeZone", code="bad_zone"
        )
    if isinstance(change.locale, str) and _LOCALE.fullmatch(change.locale) is None:
        raise Invalid("`locale` must be a language tag, e.g. `en` or `pt-BR`.", field="locale", code="bad_locale")
    if change.is_test not in (True, False, KEEP):
        raise Invalid("`isTest` must be true or false.", field="isTest", code="wrong_type")
    wire.encode_facts("traits", dict(change.traits))
    for channel, answer in change.consent.items():
        if channel not in CONSENT_CHANNELS or answer not in (True, False, None):
            raise Invalid(
                f"`consent` holds true or false for {', '.join(CONSENT_CHANNELS)}.", field="consent", code="bad_consent"
            )
    return replace(change, joined_at=_in_utc(change.joined_at))


def _check_email(email: str | Keep | None) -> None:
    if isinstance(email, str) and (len(email) > _MAX_EMAIL or not _EMAIL.fullmatch(email) or _CONTROL.search(email)):
        raise Invalid("`email` must be one address, e.g. `ada@example.org`.", field="email", code="bad_email")


def _in_utc(joined_at: datetime | Keep | None) -> datetime | Keep | None:
    if not isinstance(joined_at, datetime):
        return joined_at
    try:
        moment = joined_at.astimezone(UTC) if joined_at.tzinfo is not None else None
    except OverflowError:
        moment = None
    if moment is None or not 1980 <= moment.year <= 9998:
        raise Invalid("`joinedAt` must be a time with its zone, after 1980.", field="joinedAt", code="bad_timestamp")
    return moment


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
