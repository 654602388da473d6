"""`oracle evaluate` on real data: what the models reach, and that nothing of it comes from after the cut."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from oracle_lib.cli.commands import app
from oracle_lib.errors import Invalid
from oracle_lib.evaluate import act_mooc, oulad

BEYOND_RECENCY = 0.02
MOST_OFF = 0.05


def evaluated(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["evaluate", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    print({name: found[name] for name in ("chosen", "note", "lead")})
    return found


def test_the_first_week_of_act_mooc_tells_who_drops_out(real_data: Path) -> None:
    found = evaluated("act-mooc", str(real_data / "act_mooc"))
    assert (found["trained_on"], found["model"]["metrics"]["rows"]) == (3453, 1480)
    assert found["lead"] >= BEYOND_RECENCY
    assert found["model"]["metrics"]["auc"] >= 0.75
    assert found["model"]["metrics"]["calibration_error"] <= MOST_OFF


def test_sixty_days_of_oulad_tell_who_withdraws(real_data: Path) -> None:
    found = evaluated("oulad", str(real_data / "oulad"))
    assert found["model"]["metrics"]["rows"] == 7433
    assert found["lead"] >= BEYOND_RECENCY
    assert found["model"]["metrics"]["calibration_error"] <= MOST_OFF


def cut(folder: Path, into: Path, change: Callable[[str, pd.DataFrame], pd.DataFrame]) -> Path:
    """Copy the tables of a folder with something taken away."""
    into.mkdir()
    for path in folder.iterdir():
        change(path.name.partition(".")[0], pd.read_csv(path, dtype=str)).to_csv(
            into / path.name.removesuffix(".gz"), index=False
        )
    return into


def test_nothing_after_the_seventh_day_changes_what_is_seen_of_act_mooc(real_data: Path, tmp_path: Path) -> None:
    def until_the_cut(name: str, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["t"].astype(float) < 7 * 86_400] if name == "events" else table

    whole = act_mooc.read(real_data / "act_mooc")
    seen = act_mooc.read(cut(real_data / "act_mooc", tmp_path / "seen", until_the_cut))
    pd.testing.assert_frame_equal(whole.features, seen.features, check_exact=True)
    assert (whole.recency == seen.recency).all()


def test_nothing_after_the_day_changes_what_is_seen_of_oulad(real_data: Path, tmp_path: Path) -> None:
    def until_the_cut(name: str, table: pd.DataFrame) -> pd.DataFrame:
        if name == "studentAssessment":
            return table[table["date_submitted"].astype(float) <= oulad.DAY]
        if name == "studentRegistration":
            withdrawn = pd.to_numeric(table["date_unregistration"], errors="coerce")
            return table.assign(date_unregistration=table["date_unregistration"].mask(withdrawn > oulad.DAY, "?"))
        return table

    whole = oulad._rows(*oulad._read(real_data / "oulad"), (oulad.DAY,))
    folder = cut(real_data / "oulad", tmp_path / "seen", until_the_cut)
    seen = oulad._rows(*oulad._read(folder), (oulad.DAY,))
    pd.testing.assert_frame_equal(whole.features, seen.features, check_exact=True)
    assert (whole.recency == seen.recency).all()
    assert seen.positives == 0


def test_later_data_of_the_same_form_is_tested_on_as_it_is(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "act_mooc"
    older = cut(folder, tmp_path / "older", lambda _, table: table[table["user"].astype(int) < 3453])
    later = cut(folder, tmp_path / "later", lambda _, table: table[table["user"].astype(int) >= 3453])
    apart = evaluated("act-mooc", str(older), "--test", str(later))
    assert apart == evaluated("act-mooc", str(folder))


@pytest.mark.parametrize(
    ("events", "labels", "said"),
    [
        (None, "user,dropped_out\n1,0", "has no events.csv"),
        ("user,target,t\n1,1,0", "user,left\n1,0", "no column dropped_out; it has user, left"),
        ("user,target,t\n1,one,0", "user,dropped_out\n1,0", "events.csv, line 2: not a number"),
        ("user,target,t\n1,1,0", "user,dropped_out\n1,0\n2,1", "1 users of labels.csv have no event"),
    ],
)
def test_files_that_cannot_be_read_are_refused_by_name(
    tmp_path: Path, events: str | None, labels: str, said: str
) -> None:
    for name, text in (("events", events), ("labels", labels)):
        if text is not None:
            (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(Invalid, match=said):
        act_mooc.run(tmp_path, None)


def test_one_presentation_alone_has_nothing_to_test_on(real_data: Path, tmp_path: Path) -> None:
    def of_one(_: str, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["code_presentation"] == "2013B"] if "code_presentation" in table else table

    folder = cut(real_data / "oulad", tmp_path / "one", of_one)
    shutil.copy(real_data / "oulad" / "assessments.csv", folder / "assessments.csv")
    submitted = pd.read_csv(folder / "studentAssessment.csv", dtype=str)
    submitted.to_csv(folder / "studentAssessment.csv", index=False)
    with pytest.raises(Invalid, match="give --test"):
        oulad.run(folder, None)
