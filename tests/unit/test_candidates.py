"""Candidates: the best is chosen only if it beats silence on rows it has not seen, and says what will come."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from oracle_lib.analyze import candidates, measures
from oracle_lib.analyze.candidates import BLEND, RECENCY, Rows


def people(count: int, *, seed: int, strength: float = 1.5, drift: float = 0.0, level: float = -0.5) -> Rows:
    """Users whose outcome follows their silence, and by `strength` something that silence does not say."""
    rnd = np.random.default_rng(seed)
    recency = rnd.exponential(5.0, count)
    effort = rnd.normal(size=count)
    moment = np.sort(rnd.integers(0, 10, count)).astype(float)
    logit = level + 0.8 * np.log1p(recency) - strength * effort + drift * moment / 10
    outcome = (rnd.random(count) < 1 / (1 + np.exp(-logit))).astype(float)
    told = np.where(rnd.random(count) < 0.1, np.nan, effort)
    features = pd.DataFrame({"recency": recency, "effort": told, "noise": rnd.normal(size=count)})
    return Rows(features, recency, np.arange(count), moment, outcome)


def chosen(rows: Rows) -> candidates.Choice:
    found = candidates.choose(rows)
    assert found is not None
    return found


def test_a_model_that_knows_more_than_silence_is_used_and_keeps_its_promise() -> None:
    choice = chosen(people(4_000, seed=1))
    later = people(4_000, seed=2)
    told = measures.measure(choice.candidate.probability(later), later.outcome)
    assert choice.candidate.kind != RECENCY
    assert told.auc == pytest.approx(choice.auc[choice.candidate.kind], abs=0.03)
    assert told.calibration_error < 0.03
    assert choice.note.startswith("Used: ")


def test_where_nothing_else_speaks_recency_is_used_and_the_note_says_why() -> None:
    choice = chosen(people(4_000, seed=3, strength=0.0))
    assert choice.candidate.kind == RECENCY
    assert choice.note.startswith("Recency is used instead: ")


def test_where_positives_are_few_recency_is_used_or_nothing() -> None:
    rows = people(3_000, seed=4, level=-6.5)
    assert candidates.MIN_POSITIVES <= rows.positives < 100
    assert chosen(rows).candidate.kind == RECENCY
    assert candidates.choose(rows.at(np.arange(300))) is None


def test_a_trend_of_the_moments_is_followed_and_not_for_ever() -> None:
    drifting = people(8_000, seed=5, drift=3.0)
    order = np.arange(len(drifting))
    seen, later = drifting.at(order[drifting.moment < 8]), drifting.at(order[drifting.moment >= 8])
    model = candidates.fit(seen)[BLEND]
    flat = replace(model, calibration=replace(model.calibration, trend=0.0))
    error = measures.measure(model.probability(later), later.outcome).calibration_error
    assert error < 0.06 < measures.measure(flat.probability(later), later.outcome).calibration_error
    soon, far = (float(model.probability(replace(later, moment=later.moment + ahead)).mean()) for ahead in (1, 1000))
    assert far == pytest.approx(soon, abs=0.01)


def test_training_twice_gives_the_same_model_to_the_bit() -> None:
    rows = people(2_000, seed=6)
    assert (chosen(rows).candidate.probability(rows) == chosen(rows).candidate.probability(rows)).all()


def test_what_a_user_did_is_in_one_fold() -> None:
    """A user's rows say the same over and over: seen in training, they would flatter what is said of the others."""
    rows = people(1_000, seed=7)
    again = replace(rows, user=rows.user // 10, moment=np.zeros(len(rows)))
    for seen, left_out in candidates._held_out(again):
        assert not set(again.user[seen]) & set(again.user[left_out])


def test_the_interval_of_an_auc_holds_the_truth_as_often_as_it_says() -> None:
    whole = people(200_000, seed=8)
    truth = roc_auc_score(whole.outcome, -whole.features["effort"].fillna(0))
    within = 0
    for seed in range(40):
        some = people(500, seed=100 + seed)
        said = -some.features["effort"].fillna(0).to_numpy()
        (interval, _), lead = measures.auc_intervals(said, some.recency, some.outcome, some.user)
        within += interval.lower <= truth <= interval.upper
        assert lead.lower < lead.upper
    assert within >= 34


def test_an_auc_of_weights_is_that_of_rows_as_often_as_they_weigh() -> None:
    rnd = np.random.default_rng(9)
    said, outcome, weight = rnd.integers(0, 6, 200), rnd.integers(0, 2, 200), rnd.integers(0, 4, 200)
    repeated = roc_auc_score(np.repeat(outcome, weight), np.repeat(said, weight))
    assert measures._Ranked(said, outcome).auc(weight) == pytest.approx(repeated)
