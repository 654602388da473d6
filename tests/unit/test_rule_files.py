"""Rules as files: there and back changes nothing, a wrong file stops everything, and nothing is ever deleted."""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from oracle_lib.decide import definition, rule_drafts, rule_files, rule_life, rules_engine, starters
from oracle_lib.decide.rule_changes import Change
from oracle_lib.errors import Conflict, Invalid
from oracle_lib.storage.engine import Store

ORACLE = Path(sys.executable).with_name("oracle")
NAMES = ["keep-going.json", "stuck.json", "upsell-at-momentum.json", "welcome.json", "win-back.json"]


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def planned(conn: Connection, folder: Path) -> rule_files.Plan:
    return rule_files.plan(conn, rule_files.read(folder))


def kinds(plan: rule_files.Plan) -> dict[str, str]:
    return {step.file: step.kind for step in plan.steps}


def test_there_and_back_changes_nothing(conn: Connection, now: datetime, tmp_path: Path) -> None:
    rules_engine.install_starters(conn, now)
    folder = tmp_path / "made" / "for it"
    assert rule_files.export(conn, folder) == rule_files.Exported(tuple(NAMES), ())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    plan = planned(conn, folder)
    assert kinds(plan) == dict.fromkeys(NAMES, "same")
    assert (plan.others, rule_files.apply(conn, plan, actor="anna", now=now)) == ((), 0)
    rule_files.export(conn, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_installation_becomes_the_same_from_the_files(
    conn: Connection, second_store: Store, now: datetime, tmp_path: Path
) -> None:
    rules_engine.install_starters(conn, now)
    rule_files.export(conn, tmp_path)
    with second_store.transaction() as there:
        plan = planned(there, tmp_path)
        assert kinds(plan) == dict.fromkeys(NAMES, "new")
        assert rule_files.apply(there, plan, actor="anna", now=now) == 5
        taken = [rule.definition for rule in rules_engine.listing(there)]
    assert taken == [rule.definition for rule in rules_engine.listing(conn)]


def test_a_file_holds_the_rule_and_neither_id_nor_version_nor_counter(tmp_path: Path) -> None:
    [text] = rule_files.files([starters.rules()[0]]).values()
    assert json.loads(text) == definition.wire(starters.rules()[0])
    assert not {"id", "version", "timesTriggered", "lastTriggered", "createdAt"} & json.loads(text).keys()


def test_a_changed_file_publishes_the_next_version_and_the_others_stay(
    conn: Connection, now: datetime, tmp_path: Path
) -> None:
    rules_engine.install_starters(conn, now)
    rule_files.export(conn, tmp_path)
    change(tmp_path / "stuck.json", priority=2)
    (tmp_path / "welcome.json").unlink()
    plan = planned(conn, tmp_path)
    [step] = plan.to_publish
    assert (step.file, step.changes, plan.others) == ("stuck.json", (Change("priority", 7, 2),), ("welcome",))
    assert rule_files.apply(conn, plan, actor="anna", now=now) == 1
    versions = {rule.definition.name: rule.version for rule in rules_engine.listing(conn)}
    assert versions == {"stuck": 2, "keep going": 1, "win-back": 1, "upsell at momentum": 1, "welcome": 1}


def test_what_somebody_published_after_the_plan_is_not_overwritten(store: Store, now: datetime, tmp_path: Path) -> None:
    with store.transaction() as conn:
        rules_engine.install_starters(conn, now)
        rule_files.export(conn, tmp_path)
    change(tmp_path / "stuck.json", priority=2)
    change(tmp_path / "welcome.json", priority=2)
    with store.transaction() as conn:
        plan = planned(conn, tmp_path)
        [welcome] = [rule for rule in rules_engine.listing(conn) if rule.definition.name == "welcome"]
        theirs = definition.read({**definition.wire(welcome.definition), "priority": 1})
        rules_engine.publish(conn, welcome.id, theirs, actor="bea", now=now)
    with (
        pytest.raises(Conflict, match=r"^welcome.json: .* version 2, not 1; .* Nothing was published"),
        store.transaction() as conn,
    ):
        rule_files.apply(conn, plan, actor="anna", now=now)
    with store.transaction() as conn:
        versions = {rule.definition.name: rule.version for rule in rules_engine.listing(conn)}
    assert (versions["welcome"], versions["stuck"]) == (2, 1)


def test_drafts_and_deleted_rules_are_not_written_and_a_mere_draft_becomes_the_rule_of_its_file(
    conn: Connection, now: datetime, tmp_path: Path
) -> None:
    rules_engine.install_starters(conn, now)
    rule_files.export(conn, tmp_path)
    by_name = {rule.definition.name: rule.id for rule in rules_engine.listing(conn)}
    for name in ("stuck", "welcome"):
        rule_life.archive(conn, by_name[name], actor="anna", now=now)
    draft = rule_drafts.begin(conn, {"name": "stuck"}, actor="anna", now=now)
    assert rule_files.export(conn, tmp_path).strangers == ("stuck.json", "welcome.json")
    plan = planned(conn, tmp_path)
    assert {step.file for step in plan.to_publish} == {"stuck.json", "welcome.json"}
    rule_files.apply(conn, plan, actor="anna", now=now)
    after = {rule.definition.name: rule.id for rule in rules_engine.listing(conn)}
    assert after["stuck"] == draft
    assert after["welcome"] != by_name["welcome"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "broken.json: cannot be read as JSON"),
        ("[" * 100_000, "broken.json: cannot be read as JSON"),
        ("[]", "broken.json: must hold one rule, a JSON object."),
        ('{"name": "x", "actionType": "fax"}', "broken.json: `actionType` must be one of email, dm"),
        ("\ufeff{}", "broken.json: cannot be read as JSON"),
    ],
)
def test_a_wrong_file_is_named_with_the_field_and_how_to_mend_it(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "broken.json").write_text(text, encoding="utf-8")
    with pytest.raises(Invalid) as refused:
        rule_files.read(tmp_path)
    assert told in str(refused.value)


def test_every_wrong_file_is_named_at_once_and_so_are_two_of_one_name(tmp_path: Path) -> None:
    for name, text in rule_files.files(starters.rules()).items():
        (tmp_path / name).write_text(text)
    change(tmp_path / "stuck.json", priority=11)
    change(tmp_path / "welcome.json", name="win-back")
    (tmp_path / "notes.txt").write_text("not a rule")
    with pytest.raises(Invalid) as refused:
        rule_files.read(tmp_path)
    assert str(refused.value).splitlines() == [
        "Nothing was applied. Mend first:",
        "stuck.json: `priority` must be a whole number from 1 to 10.",
        "win-back.json: `name` is 'win-back' as in welcome.json; give one of them another name.",
    ]


def test_a_folder_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no file of a rule"):
        rule_files.read(tmp_path)


def test_names_of_any_script_make_files_of_their_own() -> None:
    names = ["Win back!", "win-back", "WIN BACK 2", "../../etc/passwd", "Привет, мир", "🎉", "🎊", "x" * 100, "\n"]
    said = [definition.read({**definition.wire(starters.rules()[0]), "name": name}) for name in names if name.strip()]
    made = rule_files.files(said)
    assert sorted(made) == sorted(
        [
            "etc-passwd.json",
            "win-back-2.json",
            "win-back.json",
            "win-back-3.json",
            f"{'x' * 60}.json",
            "привет-мир.json",
            "rule.json",
            "rule-2.json",
        ]
    )
    assert {json.loads(text)["name"] for text in made.values()} == {rule.name for rule in said}


def test_the_command_shows_asks_and_publishes_all_or_nothing(
    database_url: str, store: Store, now: datetime, tmp_path: Path
) -> None:
    def oracle(*args: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        where = {"ORACLE_DATABASE_URL": database_url, "ORACLE_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [ORACLE, "rules", *args],
            env=os.environ | where,
            input=answer,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def versions() -> dict[str, int]:
        with store.transaction() as conn:
            return {rule.definition.name: rule.version for rule in rules_engine.listing(conn)}

    with store.transaction() as conn:
        rules_engine.install_starters(conn, now)
    folder = tmp_path / "rules"
    done = oracle("export", str(folder))
    assert (done.returncode, sorted(path.name for path in folder.iterdir())) == (0, NAMES), done.stderr
    assert oracle("apply", str(folder)).stdout.split() == ["same", "5", "of", "5", "files"]
    change(folder / "stuck.json", priority=2)
    change(folder / "welcome.json", name="hello")
    shown = oracle("apply", str(folder), "--dry-run")
    assert (shown.returncode, versions()["stuck"]) == (0, 1)
    assert [line.strip() for line in shown.stdout.splitlines()] == [
        "changed stuck (stuck.json)",
        "priority",
        "- 7",
        "+ 2",
        "new hello (welcome.json)",
        "same 3 of 5 files",
    ]
    assert "left as they are: welcome." in shown.stderr
    declined = oracle("apply", str(folder), answer="n\n")
    assert (declined.returncode, versions()["stuck"]) == (1, 1)
    assert oracle("apply", str(folder), answer="y\n").returncode == 0
    assert versions() == {"stuck": 2, "hello": 1, "welcome": 1, "keep going": 1, "win-back": 1, "upsell at momentum": 1}
    change(folder / "win-back.json", priority=1)
    change(folder / "welcome.json", cooldown=-1)
    refused = oracle("apply", str(folder), "--yes")
    assert (refused.returncode, versions()["win-back"]) == (1, 1)
    assert "welcome.json: `cooldown` must be a whole number" in refused.stderr
    assert "Traceback" not in refused.stderr
