"""Every filter of segments: the count is the list walked to its end, and both are what plain Python makes of rows."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from oracle_api.schemas.audience import SegmentFilter
from oracle_api.schemas.people import SegmentOut
from oracle_lib.analyze import audience
from oracle_lib.settings import Settings
from oracle_lib.storage.embedded import EmbeddedServer
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import segments
from tests.api.conftest import make_key, serving
from tests.conftest import fresh_database

PATH = "/api/oracle/segments"
USERS = 300
COMBINATIONS = 200
WORDS: dict[str, tuple[str | None, ...]] = {
    "engagementLevel": ("new", "active", "moderate", "dormant", "lost"),
    "lifecycle": ("lead", "new", "active", "engaged", "graduate", "alumni"),
    "churnLevel": ("low", "medium", "high", "critical", None),
    "churnReason": ("refund", "no_progress", "quiz_failures", "stuck", "unresponsive", "inactivity", None),
    "persona": ("career_changer", "hobbyist", "ein Träumer, a=b&c", None),
    "learningStyle": ("visual", "audio", "reading", "doing", None),
    "valueSegment": ("high", "medium", "low", None),
    "bestContactTime": ("morning", "afternoon", "evening", None),
    "bestChannel": ("email", "dm", "push", None),
    "courseId": ("c1", "c2", None),
}
PROBABILITIES = ("churnRisk", "completionProb", "upgradeProb", "referralProb")
NUMBERS = (*PROBABILITIES, "engagementScore", "progress")
FIRST = date(2026, 1, 1)
Filters = dict[str, list[str]]
Row = Mapping[str, object]


def seed(conn: Connection) -> None:
    """Segments of every kind; probabilities often lie on a half, where rounding shows."""
    rnd = random.Random(5)

    def maybe(value: object) -> object:
        return value if rnd.random() < 0.8 else None

    def probability() -> float:
        return rnd.choice([rnd.randrange(201) / 200, rnd.random(), 0.125, 0.285, 0.0, 1.0])

    rows = [
        {name: rnd.choice(words) for name, words in WORDS.items()}
        | {
            "userId": f"u{number:03d}",
            "engagementScore": rnd.randrange(101),
            "churnRisk": probability(),
            **{name: maybe(probability()) for name in PROBABILITIES[1:]},
            "progress": maybe(rnd.randrange(101)),
            "ltv": maybe(Decimal(rnd.randrange(-5_000, 60_000)) / 100),
            "lastActiveOn": maybe(FIRST + timedelta(days=rnd.randrange(60))),
        }
        for number in range(USERS)
    ]
    columns = {SegmentOut.model_fields[column].serialization_alias or "": column for column in SegmentOut.model_fields}
    conn.execute(sa.insert(segments), [{columns[name]: value for name, value in row.items()} for row in rows])


@pytest.fixture(scope="module")
def served(server: EmbeddedServer) -> Iterator[httpx.Client]:
    """A server over the seeded segments, which no test changes."""
    with fresh_database(server) as url:
        store = Store(url)
        with store.transaction() as conn:
            seed(conn)
            key = make_key(conn, "users:read")
        with (
            serving(store, Settings(database_url=url, environment="test")) as address,
            httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client,
        ):
            yield client
        store.close()


@pytest.fixture(scope="module")
def everybody(served: httpx.Client) -> list[Row]:
    rows, total = walk(served, {})
    assert (len(rows), total) == (USERS, USERS)
    return rows


def walk(client: httpx.Client, filters: Filters, limit: int = 97) -> tuple[list[Row], int]:
    """Every row of every page, and the total, which all pages name alike."""
    rows: list[Row] = []
    totals, cursor = set(), None
    while True:
        more: Filters = {"limit": [str(limit)]} | ({"cursor": [cursor]} if cursor else {})
        answer = client.get(PATH, params=filters | more)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        rows += told["segments"]
        totals.add(told["total"])
        cursor = told["nextCursor"]
        if cursor is None:
            assert len(totals) == 1
            return rows, totals.pop()


def fits(row: Row, filters: Filters) -> bool:
    """What the documentation says of a filter, said of one row of the wire."""
    return all(_fits(row, name, values) for name, values in filters.items())


def _fits(row: Row, name: str, values: list[str]) -> bool:
    if name in (*WORDS, "userId"):
        return (row[name] or "unknown") in values
    field = {"lastActiveFrom": "lastActiveOn", "lastActiveTo": "lastActiveOn"}.get(name, name[:-3])
    if row[field] is None:
        return False
    value, bound = (str(row[field]), values[0]) if "Active" in name else (Decimal(str(row[field])), Decimal(values[0]))
    return value >= bound if name.endswith(("Min", "From")) else value <= bound  # type: ignore[operator]


def some(rnd: random.Random, name: str) -> Filters:
    """A filter of one field: a few of its words, or a range of which an end may be open."""
    if name in WORDS:
        words = [word or "unknown" for word in WORDS[name]]
        return {name: rnd.sample(words, rnd.randint(1, len(words) - 1))}
    if name == "userId":
        return {name: [f"u{rnd.randrange(USERS + 20):03d}" for _ in range(rnd.randint(1, 90))]}
    if name == "lastActiveOn":
        days = sorted(str(FIRST + timedelta(days=rnd.randrange(60))) for _ in range(2))
        ends = {"lastActiveFrom": [days[0]], "lastActiveTo": [days[1]]}
    elif name == "ltv":
        sums = sorted(Decimal(rnd.randrange(-5_000, 60_000)) / 100 for _ in range(2))
        ends = {"ltvMin": [str(sums[0])], "ltvMax": [str(sums[1])]}
    else:
        least, most = sorted(rnd.randrange(101) for _ in range(2))
        ends = {f"{name}Min": [str(least)], f"{name}Max": [str(most)]}
    return {end: ends[end] for end in rnd.sample([*ends], rnd.randint(1, 2))}


FIELDS = (*WORDS, *NUMBERS, "ltv", "lastActiveOn", "userId")


def counted(rows: list[Row]) -> dict[str, dict[str, int]]:
    return {name: dict(Counter(str(row[name] or "unknown") for row in rows)) for name in WORDS}


def agrees(client: httpx.Client, everybody: list[Row], filters: Filters) -> int:
    """Hold list, total and counts against the rows themselves; return how many there are."""
    expected = [row for row in everybody if fits(row, filters)]
    rows, total = walk(client, filters)
    assert rows == expected
    assert total == len(expected)
    told = client.get(f"{PATH}/counts", params=filters).json()
    assert told == {"total": total, "counts": counted(expected)}
    return total


@pytest.mark.parametrize("name", FIELDS)
def test_a_filter_alone_chooses_whom_it_says(served: httpx.Client, everybody: list[Row], name: str) -> None:
    rnd = random.Random(name)
    sizes = [agrees(served, everybody, some(rnd, name)) for _ in range(6)]
    assert any(0 < size < USERS for size in sizes)


def test_filters_together_choose_whom_all_of_them_choose(served: httpx.Client, everybody: list[Row]) -> None:
    rnd = random.Random(1)
    sizes = []
    for _ in range(COMBINATIONS):
        filters: Filters = {}
        for name in rnd.sample(FIELDS, rnd.choice([2, 2, 2, 3, 4])):
            filters |= some(rnd, name)
        sizes.append(agrees(served, everybody, filters))
    assert sum(0 < size < USERS for size in sizes) > COMBINATIONS / 2


def test_the_counts_of_each_field_add_up_to_the_total(served: httpx.Client) -> None:
    told = served.get(f"{PATH}/counts").json()
    assert told["total"] == USERS
    assert {name: sum(values.values()) for name, values in told["counts"].items()} == dict.fromkeys(WORDS, USERS)


@pytest.mark.parametrize("probability", [0.125, 0.285, 0.005, 0.994999, 0.995])
def test_a_half_of_a_percent_counts_as_the_next_one_for_the_list_as_for_the_filter(
    conn: Connection, probability: float
) -> None:
    conn.execute(sa.insert(segments), {"user_id": "u", "churn_risk": probability})
    shown = SegmentOut.model_validate(audience.get(conn, "u")).churn_risk
    assert shown == math.floor(probability * 100 + 0.5)
    chosen = {at: audience.page(conn, audience.Filter(churn_risk=audience.Range(at, at))).total for at in range(101)}
    assert [at for at, total in chosen.items() if total] == [shown]


def test_every_field_of_a_segment_has_a_filter_on_the_wire_and_in_the_library() -> None:
    bookkeeping = {"id", "last_analyzed", "created_at", "updated_at"}
    stored = {column.name for column in segments.columns} - bookkeeping
    assert {one.name for one in fields(audience.Filter)} == stored
    ends = ("_min", "_max", "_from", "_to")
    asked = {name for name in SegmentFilter.model_fields if not name.endswith(ends)}
    ranges = {name.rpartition("_")[0] for name in SegmentFilter.model_fields if name.endswith(ends)}
    assert asked | (ranges - {"last_active"}) | {"last_active_on"} == stored


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ("engagementLevel=vivid", "engagementLevel"),
        ("engagementLevel=active&engagementLevel=unknown", "engagementLevel"),
        ("lifecycle=", "lifecycle"),
        ("churnReason=bad_luck", "churnReason"),
        ("persona=", "persona"),
        ("churnRiskMin=101", "churnRiskMin"),
        ("churnRiskMin=0.5", "churnRiskMin"),
        ("churnRiskMin=60&churnRiskMax=40", "churnRiskMax"),
        ("progressMax=-1", "progressMax"),
        ("ltvMin=NaN", "ltvMin"),
        ("ltvMin=1.005", "ltvMin"),
        ("ltvMin=1e99", "ltvMin"),
        ("lastActiveFrom=1770000000", "lastActiveFrom"),
        ("lastActiveFrom=2026-02-30", "lastActiveFrom"),
        ("lastActiveFrom=2026-02-03T00:00:00Z", "lastActiveFrom"),
        ("lastActiveFrom=2026-02-03&lastActiveTo=2026-02-02", "lastActiveTo"),
        ("churnRiskMin=1&churnRiskMin=2", "churnRiskMin"),
        ("churnRisk=60", "churnRisk"),
        ("engagement_level=active", "engagement_level"),
        ("persona=%00", "persona"),
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/counts"])
def test_what_cannot_be_meant_is_refused_and_named(
    served: httpx.Client, path: str, parameters: str, field: str
) -> None:
    answer = served.get(f"{path}?{parameters}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"].split(".")[0] == field
