"""Files of history: through the same door, resumable at the row, never twice, and a baseline for who is in them."""

import gzip
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.errors import Conflict, Invalid
from oracle_lib.observe import history
from oracle_lib.observe.history import History, take_in
from oracle_lib.observe.importing import import_csv, import_jsonl
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import dirty_user_days, events, imports, rejected_events, users

SETTINGS = Settings(currency="USD", retention_days=90)


def event(number: int, **fields: object) -> dict[str, object]:
    moment = datetime(2014, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    return {"userId": f"u{number % 7}", "event": "login", "timestamp": moment.isoformat(), **fields}


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def stored(store: Store) -> list[tuple[object, ...]]:
    columns = (events.c.message_id, events.c.user_id, events.c.event, events.c.created_at, events.c.metadata)
    with store.transaction() as conn:
        return [tuple(row) for row in conn.execute(sa.select(*columns).order_by(events.c.message_id))]


def test_lines_of_json_become_events_whatever_their_age(store: Store, tmp_path: Path, now: datetime) -> None:
    path = jsonl(tmp_path / "old.jsonl", event(0), "", event(1, messageId="mine", metadata={"a": 1}))
    seen: list[tuple[int, int]] = []
    report = import_jsonl(
        store, path, settings=SETTINGS, now=now, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.accepted, report.rows, report.added, report.rejected) == (2, 2, 2, {})
    assert (report.first_day, report.last_day) == (date(2014, 1, 1), date(2014, 1, 1))
    assert seen == [(2, 2)]
    assert {row[0] for row in stored(store)} > {"mine"}
    with store.transaction() as conn:
        days = conn.execute(sa.select(dirty_user_days.c.user_id, dirty_user_days.c.day)).all()
    assert sorted(days) == [("u0", date(2014, 1, 1)), ("u1", date(2014, 1, 1))]


def test_the_same_file_adds_nothing_and_says_what_it_brought(store: Store, tmp_path: Path, now: datetime) -> None:
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(5)), "{")
    first = import_jsonl(store, path, settings=SETTINGS, now=now)
    before = stored(store)
    copy = jsonl(tmp_path / "renamed.jsonl", *(event(n) for n in range(5)), "{")
    again = import_jsonl(store, copy, settings=SETTINGS, now=now + timedelta(days=9))
    assert (first.added, again.added) == (5, 0)
    assert (again.accepted, again.rejected) == (5, {"malformed_json": 1})
    assert stored(store) == before
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(rejected_events)) == 1
        assert set(conn.execute(sa.select(users.c.baseline_at)).scalars()) == {now}


def test_a_longer_file_with_message_ids_adds_only_what_is_new(store: Store, tmp_path: Path, now: datetime) -> None:
    rows = [event(n, messageId=f"m{n}") for n in range(8)]
    import_jsonl(store, jsonl(tmp_path / "a.jsonl", *rows[:5]), settings=SETTINGS, now=now)
    report = import_jsonl(store, jsonl(tmp_path / "b.jsonl", *rows), settings=SETTINGS, now=now + timedelta(days=30))
    assert (report.accepted, report.duplicate) == (3, 5)


def test_wrong_rows_are_counted_by_reason_and_kept(store: Store, tmp_path: Path, now: datetime) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        event(0),
        "not json",
        "[]",
        event(1, colour="red"),
        event(2, timestamp="1970-01-01T00:00:00Z"),
        event(3, event="purchase", metadata={"amount": 5, "currency": "EUR"}),
        event(4, messageId=None),
        event(5, timestamp=None),
        {"userId": "u1", "event": "login"},
    )
    report = import_jsonl(store, path, settings=SETTINGS, now=now)
    assert (report.accepted, report.duplicate) == (2, 0)
    assert report.rejected == {"malformed_json": 1, "wrong_type": 4, "too_old": 1, "other_currency": 1}
    with store.transaction() as conn:
        kept = conn.execute(sa.select(rejected_events.c.raw).order_by(rejected_events.c.id)).scalars().all()
    assert kept[:2] == [b"not json", b"[]"]


def test_rules_start_for_a_user_at_the_import_and_not_for_others(store: Store, tmp_path: Path, now: datetime) -> None:
    later = now + timedelta(days=1)
    with store.transaction() as conn:
        conn.execute(sa.insert(users), [{"id": "u0", "baseline_at": later}, {"id": "other", "baseline_at": None}])
    import_jsonl(store, jsonl(tmp_path / "a.jsonl", event(0), event(1)), settings=SETTINGS, now=now)
    with store.transaction() as conn:
        found = dict(conn.execute(sa.select(users.c.id, users.c.baseline_at)).all())
    assert found == {"u0": later, "u1": now, "other": None}


@pytest.mark.parametrize(("kept", "says"), [(90, "those before 2025-12-04 are dropped"), (None, "kept for ever")])
def test_the_report_says_what_happens_to_old_history(
    store: Store, tmp_path: Path, now: datetime, kept: int | None, says: str
) -> None:
    settings = Settings(retention_days=kept)
    report = import_jsonl(store, jsonl(tmp_path / "a.jsonl", event(0)), settings=settings, now=now)
    assert says in report.retention


def test_young_history_is_within_retention(store: Store, tmp_path: Path, now: datetime) -> None:
    path = jsonl(tmp_path / "a.jsonl", event(0, timestamp="2026-03-01T00:00:00Z"))
    assert "within the 90 days" in import_jsonl(store, path, settings=SETTINGS, now=now).retention


def test_a_packed_file_is_read(store: Store, tmp_path: Path, now: datetime) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(event(0)).encode()))
    assert import_jsonl(store, path, settings=SETTINGS, now=now).accepted == 1
    path.write_bytes(b"no gzip")
    with pytest.raises(Invalid, match="cannot be read"):
        import_jsonl(store, path, settings=SETTINGS, now=now)
    with pytest.raises(Invalid, match="cannot be read"):
        import_jsonl(store, tmp_path / "none.jsonl", settings=SETTINGS, now=now)


def test_a_csv_row_is_the_event_its_cells_say(store: Store, tmp_path: Path, now: datetime) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "﻿userId,event,timestamp,metadata,source,sessionId,messageId\n"
        'u1,purchase,2014-01-01T10:00:00Z,"{""amount"": 5, ""courseId"": ""c""}",shop,s1,m1\n'
        "u2,login,2014-01-01T10:00:00+02:00,,,,\n",
        encoding="utf-8",
    )
    assert import_csv(store, path, settings=SETTINGS, now=now).accepted == 2
    with store.transaction() as conn:
        rows = conn.execute(sa.select(events).order_by(events.c.user_id)).all()
    assert (rows[0].message_id, rows[0].source, rows[0].session_id, rows[0].course_id) == ("m1", "shop", "s1", "c")
    assert rows[0].amount == 5
    assert (rows[1].metadata, rows[1].source) == (None, None)
    assert rows[1].created_at == datetime(2014, 1, 1, 8, tzinfo=UTC)
    assert import_csv(store, path, settings=SETTINGS, now=now).added == 0


def test_a_wrong_csv_row_is_refused_alone(store: Store, tmp_path: Path, now: datetime) -> None:
    path = tmp_path / "a.csv"
    good = "u1,login,2014-01-01T10:00:00Z,\n"
    path.write_text(
        f"userId,event,timestamp,metadata\n{good}\n"
        "u1,login,2014-01-01,\n"
        "u1,login,2014-01-01T10:00:00Z,{broken\n"
        "u1,login,2014-01-01T10:00:00Z,[1]\n"
        "u1,login\n"
        "u1,login,2014-01-01T10:00:00Z,,too much\n"
    )
    report = import_csv(store, path, settings=SETTINGS, now=now)
    assert report.accepted == 1
    assert sum(report.rejected.values()) == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"userId,event,timestamp,colour\n", "Unknown column 'colour'. Expected userId, event, timestamp"),
        (b"userId,event\n", "Column `timestamp` is missing"),
        (b"", "Column `userId` is missing"),
        (b"userId,event,timestamp,event\n", "named twice"),
        (b"userId,event,timestamp\n\xff\xfe,login,\n", "not UTF-8"),
        (b'userId,event,timestamp\n"a"b,login,\n', "no valid CSV near line 2"),
    ],
)
def test_what_is_no_such_csv_is_refused_before_anything_is_stored(
    store: Store, tmp_path: Path, now: datetime, content: bytes, says: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=says):
        import_csv(store, path, settings=SETTINGS, now=now)
    with store.transaction() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(imports)) == 0


def test_an_interrupted_import_goes_on_where_it_stopped(
    store: Store, tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "ROWS_A_TRANSACTION", 10)
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(35)), "{")

    def stop_at_twenty(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_jsonl(store, path, settings=SETTINGS, now=now, progress=stop_at_twenty)
    assert len(stored(store)) == 20
    seen: list[int] = []
    report = import_jsonl(store, path, settings=SETTINGS, now=now, progress=lambda done, _: seen.append(done))
    assert seen == [30, 36]
    assert (report.added, report.accepted, report.duplicate) == (15, 35, 0)
    assert report.rejected == {"malformed_json": 1}


def test_two_processes_cannot_import_the_same_at_once(store: Store, now: datetime) -> None:
    bodies = [json.dumps(event(n, messageId=f"m{n}")).encode() for n in range(2 * history.ROWS_A_TRANSACTION)]
    same = History("jsonl", "a", b"\0" * 32, len(bodies), lambda: iter(bodies))

    def meanwhile(done: int, _: int) -> None:
        if done < len(bodies):
            take_in(store, same, settings=SETTINGS, now=now)

    with pytest.raises(Conflict, match="another process"):
        take_in(store, same, settings=SETTINGS, now=now, progress=meanwhile)
    assert len(stored(store)) == len(bodies)


KILLED = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from oracle_lib.observe import history, importing
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
history.ROWS_A_TRANSACTION = 50
url, path, now, after = sys.argv[1:]
ingest = history.ingest
def killed(conn, bodies, **more):
    report = ingest(conn, bodies, **more)
    if conn.exec_driver_sql("SELECT rows_done FROM imports").scalar() == int(after):
        os.kill(os.getpid(), signal.SIGKILL)
    return report
history.ingest = killed
importing.import_jsonl(
    Store(url), Path(path), settings=Settings(currency="USD"), now=datetime.fromisoformat(now)
)
"""


def test_killed_in_the_middle_of_a_batch_nothing_is_lost_or_doubled(
    store: Store, database_url: str, tmp_path: Path, now: datetime
) -> None:
    path = jsonl(tmp_path / "a.jsonl", *(event(n) for n in range(180)))
    for after in (50, 100):
        died = subprocess.run(
            [sys.executable, "-c", KILLED, database_url, str(path), now.isoformat(), str(after)],
            env={**os.environ},
            check=False,
        )
        assert died.returncode == -signal.SIGKILL
        assert len(stored(store)) == after
    report = import_jsonl(store, path, settings=SETTINGS, now=now)
    assert (report.added, report.accepted, report.duplicate) == (80, 180, 0)
    assert [row[3] for row in sorted(stored(store), key=lambda row: str(row[3]))] == [
        datetime(2014, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(180)
    ]
