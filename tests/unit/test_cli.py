"""The command line: quick to answer, plain about what is wrong, and the same database as everybody else's."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib import clock
from oracle_lib.cli import home
from oracle_lib.cli.supervisor import Service, end_orphans, port_taken, require_free_ports
from oracle_lib.errors import Conflict
from oracle_lib.observe import tail
from oracle_lib.observe.batch import Door
from oracle_lib.observe.ingest import ingest
from oracle_lib.observe.wire import Limits
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import api_keys
from tests.ports import listening

ORACLE = Path(sys.executable).with_name("oracle")


def oracle(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORACLE_", "DAGSTER_"))}
    return subprocess.run(
        [ORACLE, *args], env=kept | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_help_answers_at_once_and_names_every_command() -> None:
    start = time.perf_counter()
    done = oracle("--help")
    took = time.perf_counter() - start
    assert done.returncode == 0
    for command in ("up", "demo", "run", "migrate", "import", "env", "doctor", "key"):
        assert re.search(rf"\b{command}\b", done.stdout)
    # 0.3 s on an idle machine; what this guards against is a heavy import, seconds each.
    assert took < 5


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'dagster', 'ibis', 'pandas', 'sklearn', 'numpy', 'fastapi', 'sqlalchemy'}"
    code = f"import sys, oracle_lib.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_key_is_made_listed_and_revoked(database_url: str, tmp_path: Path) -> None:
    where = {
        "ORACLE_DATABASE_URL": database_url,
        "ORACLE_DAGSTER_DATABASE_URL": database_url,
        "ORACLE_HOME": str(tmp_path),
    }
    made = oracle("key", "create", "--source", "shop", "--scope", "events:write", **where)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("ork_production_")
    key_id = key.split("_")[2]
    assert key_id in oracle("key", "list", **where).stdout
    assert oracle("key", "revoke", key_id, **where).returncode == 0
    store = Store(database_url)
    with store.transaction() as conn:
        assert conn.scalar(sa.select(api_keys.c.revoked_at).where(api_keys.c.id == key_id)) is not None
    store.close()


def test_a_wrong_setting_is_refused_with_its_name(tmp_path: Path) -> None:
    done = oracle("migrate", ORACLE_HOME=str(tmp_path), ORACLE_API_PORT="eighty")
    assert done.returncode == 2
    assert "ORACLE_API_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    gone = "postgresql://nobody@127.0.0.1:1/oracle"
    done = oracle("migrate", ORACLE_HOME=str(tmp_path), ORACLE_DATABASE_URL=gone)
    assert done.returncode == 1
    assert "ORACLE_DATABASE_URL does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_names_each_ill_and_its_cure(tmp_path: Path) -> None:
    gone = "postgresql://nobody@127.0.0.1:1/oracle"
    with listening() as port:
        done = oracle(
            "doctor",
            ORACLE_HOME=str(tmp_path),
            ORACLE_DATABASE_URL=gone,
            ORACLE_API_PORT=str(port),
            ORACLE_ALERT_CHANNEL="slack",
        )
    assert done.returncode == 1
    assert "ORACLE_SLACK_WEBHOOK_URL is not set" in " ".join(done.stdout.split())
    assert "ORACLE_API_PORT" in done.stdout
    assert "ORACLE_DATABASE_URL" in done.stdout


def test_run_daily_prints_every_stage(database_url: str, tmp_path: Path) -> None:
    where = {
        "ORACLE_DATABASE_URL": database_url,
        "ORACLE_DAGSTER_DATABASE_URL": database_url,
        "ORACLE_HOME": str(tmp_path),
    }
    done = oracle("run", "daily", "--date", "2026-01-05", **where)
    assert done.returncode == 0, done.stderr
    for stage in ("events", "user_days", "segments", "predictions", "actions", "deliveries", "outcomes", "retention"):
        assert stage in done.stdout
    assert oracle("run", "daily", "--date", "someday", **where).returncode == 2


def test_a_taken_port_is_named_with_its_setting() -> None:
    with listening() as port:
        assert port_taken("127.0.0.1", port)
        service = Service("API", ["true"], lambda: True, "127.0.0.1", port, "ORACLE_API_PORT")
        with pytest.raises(Conflict, match=f"Port {port}.*ORACLE_API_PORT"):
            require_free_ports([service])
    assert not port_taken("127.0.0.1", port)


def test_a_second_up_on_the_same_home_is_told_so(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with home.alone(settings):
        assert home.is_up(settings)
        with pytest.raises(Conflict, match="already up"), home.alone(settings):
            pass
    assert not home.is_up(settings)


def test_a_stranger_with_an_old_number_is_never_ended(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "30"], start_new_session=True)
    (tmp_path / "children.json").write_text(f"[[{sleeper.pid}, 12345.0]]")
    end_orphans(tmp_path)
    assert sleeper.poll() is None
    sleeper.terminate()
    sleeper.wait()


def test_the_tracking_plan_is_applied_from_a_file_and_shown_as_one(database_url: str, tmp_path: Path) -> None:
    where = {"ORACLE_DATABASE_URL": database_url, "ORACLE_HOME": str(tmp_path)}
    file = tmp_path / "plan.json"
    file.write_text('{"login": {"mode": "warn", "schema": {"type": "object"}}, "refund": {"schema": {}}}')
    done = oracle("plan", "apply", str(file), "--yes", **where)
    assert (done.returncode, done.stderr.split()) == (0, ["add", "login", "(warn)", "add", "refund", "(warn)"])
    file.write_text('{"login": {"mode": "reject", "schema": {"type": "object"}}}')
    declined = subprocess.run(
        [ORACLE, "plan", "apply", str(file)],
        env=os.environ | where,
        input="n\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert declined.returncode == 1
    assert "refund" in oracle("plan", "show", **where).stdout
    changed = oracle("plan", "apply", str(file), "--yes", **where)
    assert changed.stderr.split() == ["change", "login", "(reject)", "remove", "refund"]
    assert json.loads(oracle("plan", "show", **where).stdout) == json.loads(file.read_text())
    file.write_text('{"login": {"mode": "refuse", "schema": {}}}')
    assert (
        "login: must have a `schema` and a `mode` of warn or reject"
        in oracle("plan", "apply", str(file), **where).stderr
    )


def test_events_are_printed_as_they_come_in(database_url: str, tmp_path: Path, store: Store) -> None:
    where = {"ORACLE_DATABASE_URL": database_url, "ORACLE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [ORACLE, "events", "tail", "--source", "shop"],
        env=os.environ | where | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert watching.stderr.readline().startswith("Watching")
        with store.transaction() as conn:
            [tail_id] = [one.id for one in tail.live(conn, clock.now())]
            door = Door(source="shop", limits=Limits(currency="USD"), tails=(tail_id,))
            ingest(conn, [b'{"userId": "u1", "event": "login"}', b"{"], door=door, received_at=clock.now())
        accepted, refused = watching.stdout.readline(), watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
        assert accepted.split()[1:] == ["accepted", "shop", "u1", "login"]
        assert refused.split()[1:6] == ["rejected", "shop", "-", "{", "malformed_json"]
    with store.transaction() as conn:
        assert tail.live(conn, clock.now()) == ()
