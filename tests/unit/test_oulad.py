"""OULAD as events: a small folder made by hand, and the real one counted straight from its files."""

import gzip
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from oracle_lib.clock import week_of
from oracle_lib.errors import Invalid
from oracle_lib.observe import courses as course_list
from oracle_lib.observe.importing import import_oulad
from oracle_lib.settings import Settings
from oracle_lib.storage.engine import Store
from oracle_lib.storage.tables import courses, events, users
from tests.oulad import given, raw, start

SETTINGS = Settings(currency="USD", retention_days=90)
SMALL = {
    "courses.csv": "code_module,code_presentation,module_presentation_length\nAAA,2013B,240\nAAA,2013J,268\n",
    "assessments.csv": (
        "code_module,code_presentation,id_assessment,assessment_type,date,weight\n"
        "AAA,2013B,2,TMA,50,50\nAAA,2013B,1,TMA,19,50\nAAA,2013B,9,Exam,,100\nAAA,2013J,3,CMA,?,10\n"
    ),
    "studentInfo.csv": (
        "code_module,code_presentation,id_student,gender,region,highest_education,imd_band,age_band,"
        "num_of_prev_attempts,studied_credits,disability,final_result\n"
        "AAA,2013B,11,M,Wales,HE,?,0-35,0,60,N,Fail\n"
        "AAA,2013J,11,M,Wales,HE,?,0-35,1,60,N,Distinction\n"
        "AAA,2013J,12,F,Wales,HE,?,0-35,0,60,N,Withdrawn\n"
        "AAA,2013J,13,F,Wales,HE,?,0-35,0,60,N,Withdrawn\n"
    ),
    "studentRegistration.csv": (
        "code_module,code_presentation,id_student,date_registration,date_unregistration\n"
        "AAA,2013B,11,-10,?\nAAA,2013J,11,-300,?\nAAA,2013J,12,?,5\nAAA,2013J,13,0,?\n"
    ),
    "studentAssessment.csv": (
        "id_assessment,id_student,date_submitted,is_banked,score\n"
        "1,11,18,0,40\n2,11,51,0,39\n3,11,-1,1,78\n3,12,4,False,\n"
    ),
}


def folder(path: Path, **changed: str) -> Path:
    for name, content in {**SMALL, **{f"{stem}.csv": text for stem, text in changed.items()}}.items():
        (path / name).write_text(content)
    return path


def stored(store: Store) -> list[tuple[str, str, str, str | None, date]]:
    found = sa.select(events.c.user_id, events.c.event, events.c.course_id, events.c.lesson_id, events.c.created_at)
    with store.transaction() as conn:
        rows = conn.execute(found.order_by(events.c.created_at, events.c.user_id, events.c.event)).all()
    return [(*row[:4], row.created_at.date()) for row in rows]


def test_each_row_becomes_the_event_it_stands_for_on_its_day(store: Store, tmp_path: Path, now: datetime) -> None:
    report = import_oulad(store, folder(tmp_path), settings=SETTINGS, now=now)
    spring, autumn = "AAA-2013B", "AAA-2013J"
    assert stored(store) == [
        ("11", "signup", autumn, None, date(2012, 12, 5)),
        ("11", "signup", spring, None, date(2013, 1, 22)),
        ("11", "lesson_complete", spring, "1", date(2013, 2, 19)),
        ("11", "quiz_pass", spring, "1", date(2013, 2, 19)),
        ("11", "lesson_complete", spring, "2", date(2013, 3, 24)),
        ("11", "quiz_fail", spring, "2", date(2013, 3, 24)),
        ("11", "quiz_pass", autumn, "3", date(2013, 9, 30)),
        ("13", "signup", autumn, None, date(2013, 10, 1)),
        ("12", "lesson_complete", autumn, "3", date(2013, 10, 5)),
        ("12", "course_withdrawn", autumn, None, date(2013, 10, 6)),
        ("11", "course_complete", autumn, None, date(2014, 6, 26)),
    ]
    assert report.left_out == {
        "registration without a day": 1,
        "result of a submission without a score": 1,
        "withdrawal without a day": 1,
    }
    assert (report.first_day, report.last_day, report.rejected) == (date(2012, 12, 5), date(2014, 6, 26), {})


def test_a_presentation_is_a_course_and_its_assessments_are_lessons(
    store: Store, tmp_path: Path, now: datetime
) -> None:
    import_oulad(store, folder(tmp_path), settings=SETTINGS, now=now)
    with store.transaction() as conn:
        spring = course_list.get(conn, "AAA-2013B")
        assert conn.scalar(sa.select(sa.func.count()).select_from(courses)) == 2
    assert (spring.title, spring.starts_on, spring.ends_on) == ("AAA 2013B", date(2013, 2, 1), date(2013, 9, 29))
    assert [(lesson.id, lesson.title) for lesson in spring.lessons] == [("1", "TMA 1"), ("2", "TMA 2")]


def test_people_get_a_baseline_and_nothing_of_who_they_are(store: Store, tmp_path: Path, now: datetime) -> None:
    import_oulad(store, folder(tmp_path), settings=SETTINGS, now=now)
    with store.transaction() as conn:
        found = conn.execute(sa.select(users.c.id, users.c.baseline_at, users.c.traits).order_by(users.c.id)).all()
    assert found == [("11", now, {}), ("12", now, {}), ("13", now, {})]


def test_packed_and_plain_files_are_the_same_import(store: Store, tmp_path: Path, now: datetime) -> None:
    import_oulad(store, folder(tmp_path), settings=SETTINGS, now=now)
    for path in list(tmp_path.iterdir()):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert import_oulad(store, tmp_path, settings=SETTINGS, now=now).added == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("studentInfo.csv", None, "studentInfo.csv not found in .*OULAD has courses.csv, assessments.csv"),
        ("grades.csv", "a\n", "Unknown file grades.csv. OULAD has courses.csv"),
        ("courses.csv", "code_module,code_presentation,length\n", "unknown column 'length' and missing column"),
        (
            "courses.csv",
            "code_module,code_presentation\n",
            "missing column 'module_presentation_length'. Expected code",
        ),
        ("courses.csv", "code_module,code_presentation,module_presentation_length\nAAA,2013X,9\n", "a year and B"),
        (
            "courses.csv",
            "code_module,code_presentation,module_presentation_length\nAAA,2013B\n",
            "2 cells instead of 3",
        ),
        (
            "courses.csv",
            "code_module,code_presentation,module_presentation_length\nBBB,2013B,9\n",
            "not in courses.csv",
        ),
        (
            "studentAssessment.csv",
            "id_assessment,id_student,date_submitted,is_banked,score\n7,1,1,0,5\n",
            "7 is not in",
        ),
        (
            "studentAssessment.csv",
            "id_assessment,id_student,date_submitted,is_banked,score\n1,1,x,0,5\n",
            "a number, not",
        ),
        ("studentAssessment.csv", "id_assessment,id_student,date_submitted,is_banked,score\n1,1,1,no,5\n", "is_banked"),
        ("studentInfo.csv", SMALL["studentInfo.csv"].replace("Fail", "Lost"), "line 2: `final_result` must be Pass"),
    ],
)
def test_what_is_no_oulad_is_refused_with_what_was_expected(
    store: Store, tmp_path: Path, now: datetime, name: str, content: str | None, says: str
) -> None:
    folder(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(Invalid, match=says):
        import_oulad(store, tmp_path, settings=SETTINGS, now=now)
    assert stored(store) == []


def test_a_path_that_is_no_folder_is_refused(store: Store, tmp_path: Path, now: datetime) -> None:
    with pytest.raises(Invalid, match="is no folder"):
        import_oulad(store, tmp_path / "none", settings=SETTINGS, now=now)


def test_the_real_counts_equal_the_files_and_an_interruption_changes_nothing(
    store: Store, real_data: Path, now: datetime
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_oulad(store, real_data / "oulad", settings=SETTINGS, now=now, progress=stop)
    report = import_oulad(store, real_data / "oulad", settings=SETTINGS, now=now)
    again = import_oulad(store, real_data / "oulad", settings=SETTINGS, now=now + timedelta(days=5))
    assert 0 < report.added < report.accepted == report.rows
    assert (report.duplicate, report.rejected, again.added) == (0, {}, 0)

    found = stored(store)
    assert len(found) == report.accepted
    counted = Counter(row[1] for row in found)
    enrolments, results = raw(real_data, "studentRegistration"), raw(real_data, "studentInfo")
    submissions = raw(real_data, "studentAssessment")
    scores = [float(row["score"]) for row in submissions if given(row["score"])]
    assert counted == {
        "signup": sum(given(row["date_registration"]) for row in enrolments),
        "quiz_pass": sum(score >= 40 for score in scores),
        "quiz_fail": sum(score < 40 for score in scores),
        "lesson_complete": sum(row["is_banked"] == "False" for row in submissions),
        "course_withdrawn": sum(given(row["date_unregistration"]) for row in enrolments),
        "course_complete": sum(row["final_result"] in {"Pass", "Distinction"} for row in results),
    }
    assert (len(enrolments), len(submissions)) == (13_529, 82_842)
    assert counted["signup"] + report.left_out["registration without a day"] == len(enrolments)
    unscored = report.left_out["result of a submission without a score"]
    assert counted["quiz_pass"] + counted["quiz_fail"] + unscored == len(submissions)
    left = Counter(
        week_of(start(row["code_presentation"]) + timedelta(days=int(row["date_unregistration"])))
        for row in enrolments
        if given(row["date_unregistration"])
    )
    assert Counter(week_of(day) for *_, kind, _, _, day in found if kind == "course_withdrawn") == left
