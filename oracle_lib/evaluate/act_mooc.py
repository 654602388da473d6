"""Who leaves a course, from the log of their first week: SNAP act-mooc (Kumar, Zhang, Leskovec 2019).

`events.csv` has `user,target,t` (t in seconds since the user's first action, target the thing acted on, later things
with higher numbers), `labels.csv` `user,dropped_out`; each also as .gz. Users are numbered as they came. Features know
nothing beyond the seventh day.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from oracle_lib.analyze.candidates import Rows
from oracle_lib.errors import Invalid
from oracle_lib.evaluate.report import Evaluation, evaluate

if TYPE_CHECKING:
    import pandas as pd

DAYS = 7
_DAY = 86_400.0
_PAUSE = 1_800.0
_TRAINED = 0.7
_QUESTION = f"Seen for {DAYS} days: does the user drop out in the end?"


def run(train: Path, test: Path | None) -> Evaluation:
    """Evaluate: without `test` the first 70 % of users by id train, and the others test."""
    import numpy as np

    if test is not None:
        older = read(train)
        return evaluate(_QUESTION, older, read(test, after=len(older)))
    rows = read(train)
    order = np.arange(len(rows))
    cut = int(len(rows) * _TRAINED)
    return evaluate(_QUESTION, rows.at(order[:cut]), rows.at(order[cut:]))


def read(folder: Path, after: int = 0) -> Rows:
    """Return a row for each user, in the order in which they came. `after` is how many came before them."""
    import numpy as np

    events = _table(folder, "events", ("user", "target", "t"))
    labels = _table(folder, "labels", ("user", "dropped_out")).sort_values("user", ignore_index=True)
    features = first_days(events).reindex(labels["user"])
    unseen = int(features["events"].isna().sum())
    if unseen:
        raise Invalid(f"{folder.name}: {unseen} users of labels.csv have no event in events.csv.", field="user")
    recency = (DAYS - features.pop("last_day")).to_numpy()
    moment = after + np.arange(len(labels), dtype=float)
    users = labels["user"].to_numpy()
    return Rows(features.reset_index(drop=True), recency, users, moment, labels["dropped_out"].to_numpy(dtype=float))


def first_days(events: "pd.DataFrame") -> "pd.DataFrame":
    """Return what each user (index) did in the first seven days."""
    seen = events[events["t"] < DAYS * _DAY].sort_values(["user", "t"], kind="stable")
    pause = seen.groupby("user")["t"].diff()
    seen = seen.assign(
        day=seen["t"] // _DAY, pause=pause, session=pause.isna() | (pause > _PAUSE), late=seen["t"] >= (DAYS - 2) * _DAY
    )
    users = seen.groupby("user")
    targets = users["target"]
    found = users.agg(events=("t", "size"), last_day=("t", "max"), days=("day", "nunique"), sessions=("session", "sum"))
    found["last_day"] /= _DAY
    found["recency"] = DAYS - found["last_day"]
    found["things"] = targets.nunique()
    found["furthest"] = targets.max()
    found["newest"] = targets.last()
    found["onward"] = targets.apply(lambda one: one.diff().gt(0).mean())
    found["of_first_day"] = seen[seen["day"] == 0].groupby("user").size()
    found["of_last_two_days"] = users["late"].sum()
    found["mean_pause"] = users["pause"].mean() / _DAY
    return found.fillna({"of_first_day": 0}).astype(float)


def _table(folder: Path, name: str, columns: tuple[str, ...]) -> "pd.DataFrame":
    import pandas as pd

    for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz"):
        if path.exists():
            table = pd.read_csv(path)
            break
    else:
        raise Invalid(f"{folder} has no {name}.csv, nor {name}.csv.gz.", field=name, code="missing_file")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise Invalid(f"{path.name} has no column {missing[0]}; it has {', '.join(table.columns)}.", field=missing[0])
    table = table[list(columns)].apply(pd.to_numeric, errors="coerce")
    wrong = table.index[table.isna().any(axis=1)]
    if len(wrong):
        raise Invalid(f"{path.name}, line {wrong[0] + 2}: not a number in each of {', '.join(columns)}.")
    return table
