"""When a user comes, where they answer and how they learn: said once there is enough of it, on their own clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_lib.analyze.classifier import CHANNEL_EVIDENCE, CONTACT_EVIDENCE, STYLE_EVIDENCE
from oracle_lib.observe import profiles
from oracle_lib.observe.profiles import ProfileChange
from oracle_lib.storage.tables import segments
from tests import world

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def lives(conn: Connection, *happened: tuple[str, float, int], zone: str | None = None, **traits: object) -> None:
    """Have a user do things: (event, hour of the day in UTC, on so many days), and tell of themselves."""
    profiles.put(conn, "u", ProfileChange(time_zone=zone, traits=traits), source="test", now=NOW)
    bodies = [
        world.event("u", name, (NOW - timedelta(days=day + 1)).replace(hour=0) + timedelta(hours=hour))
        for name, hour, days in happened
        for day in range(days)
    ]
    world.post(conn, bodies, NOW)
    world.run_stages(conn, NOW.date())


def said(conn: Connection, field: str) -> Any:
    return conn.scalar(sa.select(segments.c[field]).where(segments.c.user_id == "u"))


@pytest.mark.parametrize(
    ("zone", "hour", "part"),
    [
        ("UTC", 8, "morning"),
        ("UTC", 4.9, None),
        ("UTC", 23.9, "evening"),
        ("America/New_York", 13, "morning"),
        ("America/New_York", 3, "evening"),
        ("Asia/Tokyo", 23, "morning"),
        ("Asia/Kolkata", 7, "afternoon"),
        (None, 8, None),
    ],
)
def test_a_day_counts_for_the_part_in_which_it_begins_on_the_users_clock(
    conn: Connection, zone: str | None, hour: float, part: str | None
) -> None:
    lives(conn, ("login", hour, CONTACT_EVIDENCE), ("page_view", min(hour + 3, 23.95), CONTACT_EVIDENCE), zone=zone)
    assert said(conn, "best_contact_time") == part


@pytest.mark.parametrize(
    ("mornings", "evenings", "found"), [(4, 0, None), (5, 0, "morning"), (6, 4, None), (12, 4, "morning")]
)
def test_a_time_is_best_only_with_enough_days_and_a_clear_lead(
    conn: Connection, mornings: int, evenings: int, found: str | None
) -> None:
    late = [world.event("u", "login", NOW.replace(hour=20) - timedelta(days=40 + day)) for day in range(evenings)]
    world.post(conn, late, NOW)
    lives(conn, ("login", 8, mornings), zone="UTC")
    assert said(conn, "best_contact_time") == found


def test_who_moves_to_another_zone_is_seen_on_the_new_clock(conn: Connection) -> None:
    lives(conn, ("login", 8, CONTACT_EVIDENCE), zone="UTC")
    assert said(conn, "best_contact_time") == "morning"
    profiles.put(conn, "u", ProfileChange(time_zone="Asia/Tokyo"), source="test", now=NOW)
    world.run_stages(conn, NOW.date())
    assert said(conn, "best_contact_time") == "evening"


@pytest.mark.parametrize(
    ("emails", "opened", "dms", "read", "found"),
    [
        (20, 2, 20, 15, "dm"),
        (20, 15, 20, 2, "email"),
        (20, 9, 20, 11, None),
        (20, 2, CHANNEL_EVIDENCE - 1, CHANNEL_EVIDENCE - 1, None),
        (20, 18, 0, 0, None),
    ],
)
def test_a_channel_is_best_only_against_another_that_was_tried(
    conn: Connection, emails: int, opened: int, dms: int, read: int, found: str | None
) -> None:
    lives(conn, ("email_sent", 8, emails), ("email_open", 9, opened), ("dm_sent", 8, dms), ("dm_read", 9, read))
    assert said(conn, "best_channel") == found


def test_pushes_are_weighed_too(conn: Connection) -> None:
    lives(conn, ("email_sent", 8, 20), ("email_open", 9, 2), ("push_sent", 8, 20), ("push_open", 9, 16))
    assert said(conn, "best_channel") == "push"


@pytest.mark.parametrize(
    ("traits", "persona"),
    [
        ({"goal": "career_change"}, "career_changer"),
        ({"goal": "hobby", "persona": "teacher"}, "teacher"),
        ({"goal": "fame"}, None),
        ({"goal": 7, "persona": ""}, None),
        ({}, None),
    ],
)
def test_a_persona_is_told_or_unknown(conn: Connection, traits: dict[str, object], persona: str | None) -> None:
    lives(conn, ("login", 8, 3), **traits)
    assert said(conn, "persona") == persona


@pytest.mark.parametrize(
    ("videos", "articles", "told", "style"),
    [
        (STYLE_EVIDENCE, 0, None, "visual"),
        (STYLE_EVIDENCE - 1, 0, None, None),
        (5, 9, None, "reading"),
        (STYLE_EVIDENCE, 0, "doing", "doing"),
        (STYLE_EVIDENCE, 0, "osmosis", "visual"),
    ],
)
def test_a_learning_style_is_told_or_shown_by_most_of_what_was_learned_from(
    conn: Connection, videos: int, articles: int, told: str | None, style: str | None
) -> None:
    traits = {} if told is None else {"learningStyle": told}
    lives(conn, ("video_watched", 8, videos), ("article_read", 9, articles), **traits)
    assert said(conn, "learning_style") == style
