"""Read-outs of experiments: the published figures, error rates that hold, and a broken split that is seen."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from oracle_lib.errors import Invalid
from oracle_lib.evaluate import experiment
from oracle_lib.learn import effects
from oracle_lib.learn.effects import Arm, Effect

EXPERIMENTS, DAYS, A_DAY = 1_000, 28, 100
Z = float(stats.norm.ppf(0.975))


def arm(name: str, values: np.ndarray) -> Arm:
    return Arm(name, len(values), float(values.sum()), float((values**2).sum()))


def rate(name: str, users: int, hits: int) -> Arm:
    return Arm(name, users, hits, hits)


def test_hillstroms_mens_mail_is_read_out_as_published(real_data: Path) -> None:
    path = real_data / "hillstrom" / "mens_vs_none.csv.gz"
    expected = {"visit": (18.276, 10.617, 22.49), "conversion": (1.253, 0.573, 7.39)}
    for metric, (mailed, control, z) in expected.items():
        report = experiment.evaluate(path, arm="segment", control="No E-Mail", metric=metric)
        (found,) = report.effects.values()
        assert report.rate
        assert (100 * found.mean, 100 * found.control_mean) == pytest.approx((mailed, control), abs=5e-4)
        assert found.statistic == pytest.approx(z, abs=5e-3)
        assert found.verdict == "better"
        assert not report.split.broken


def test_means_are_compared_as_welch_does() -> None:
    rnd = np.random.default_rng(1)
    a, b = rnd.gamma(2, 20, 900), rnd.gamma(2, 24, 300)
    found = effects.compare(arm("a", a), arm("b", b), rate=False)
    welch = stats.ttest_ind(b, a, equal_var=False)
    bounds = welch.confidence_interval()
    assert (found.statistic, found.p) == pytest.approx((welch.statistic, welch.pvalue))
    assert (found.interval.lower, found.interval.upper) == pytest.approx((bounds.low, bounds.high))


def test_of_1000_effectless_experiments_looked_at_daily_few_are_called_effective_and_naively_many() -> None:
    rnd = np.random.default_rng(7)
    hits = rnd.binomial(A_DAY, 0.2, (EXPERIMENTS, DAYS, 2)).cumsum(axis=1)
    sequential, naive = 0, 0
    for days in hits:
        looks = [
            effects.compare(rate("c", A_DAY * day, int(c)), rate("t", A_DAY * day, int(t)), rate=True)
            for day, (c, t) in enumerate(days, start=1)
        ]
        sequential += any(look.verdict in {"better", "worse"} for look in looks)
        naive += any(look.p < 0.05 for look in looks)
    print(f"called effective: sequential {sequential / EXPERIMENTS:.1%}, naive peeking {naive / EXPERIMENTS:.1%}")
    assert sequential / EXPERIMENTS <= 0.05
    assert naive / EXPERIMENTS > 0.2


def test_a_true_rise_of_five_points_is_inside_the_interval_and_is_found() -> None:
    rnd = np.random.default_rng(8)
    found: list[Effect] = []
    for control, treated in zip(rnd.binomial(3_000, 0.2, 1_000), rnd.binomial(3_000, 0.25, 1_000), strict=True):
        found.append(effects.compare(rate("c", 3_000, control), rate("t", 3_000, treated), rate=True))
    covered = np.mean([one.interval.lower <= 0.05 <= one.interval.upper for one in found])
    lifts = [one.lift_interval for one in found if one.lift_interval is not None]
    lift_covered = np.mean([one.lower <= 0.25 <= one.upper for one in lifts])
    better = np.mean([one.verdict == "better" for one in found])
    print(f"covered {covered:.1%}, lift covered {lift_covered:.1%}, called better {better:.1%}")
    assert covered >= 0.93
    assert lift_covered >= 0.93
    assert better > 0.8


def test_what_could_have_been_found_is_said() -> None:
    found = effects.compare(rate("c", 1_000, 200), rate("t", 1_000, 205), rate=True)
    assert found.verdict == "no difference found"
    error = math.sqrt(0.2 * 0.8 / 999 + 0.205 * 0.795 / 999)
    assert found.detectable == pytest.approx((Z + stats.norm.ppf(0.8)) * error, rel=1e-3)


@pytest.mark.parametrize(
    ("control", "treated"),
    [((99, 20), (5_000, 900)), ((5_000, 4), (5_000, 5)), ((5_000, 4_996), (5_000, 4_995)), ((0, 0), (0, 0))],
    ids=["an arm too small", "too few events", "too few non-events", "nobody"],
)
def test_with_too_little_to_go_by_nothing_is_said(control: tuple[int, int], treated: tuple[int, int]) -> None:
    found = effects.compare(rate("c", *control), rate("t", *treated), rate=True)
    assert found.verdict == "not enough data"
    assert math.isfinite(found.p)


def test_a_planned_uneven_split_is_no_alarm_and_a_broken_one_is() -> None:
    plan = {"a": 0.8, "b": 0.2}
    assert not effects.split({"a": 8_050, "b": 1_950}, plan).broken
    broken = effects.split({"a": 8_000, "b": 1_700}, plan)
    assert broken.broken
    assert effects.split({"a": 8_050, "b": 1_950}, {"a": 1, "b": 1}).broken
    with pytest.raises(Invalid, match="Arm 'b' needs a weight above 0"):
        effects.split({"a": 1, "b": 1}, {"a": 1})


def test_many_comparisons_are_held_to_their_false_discoveries() -> None:
    # By hand: p times how many over its place, made monotone from the end.
    assert effects.false_discoveries([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert effects.false_discoveries([]) == []


def test_a_file_of_three_arms_and_planned_weights(tmp_path: Path) -> None:
    rnd = np.random.default_rng(3)
    arms = rnd.choice(["none", "a", "b"], 6_000, p=(0.5, 0.3, 0.2))
    spent = rnd.exponential(10, 6_000) + 3 * (arms == "a")
    path = tmp_path / "spent.csv"
    path.write_text("arm,spent\n" + "".join(f"{one},{value:.4f}\n" for one, value in zip(arms, spent, strict=True)))
    report = experiment.evaluate(
        path, arm="arm", control="none", metric="spent", weights={"none": 0.5, "a": 0.3, "b": 0.2}
    )
    assert not report.rate
    assert report.effects["a"].verdict == "better"
    assert report.effects["b"].verdict == "no difference found"
    assert report.adjusted_p["a"] >= report.effects["a"].p
    assert not report.split.broken
    assert experiment.evaluate(path, arm="arm", control="none", metric="spent").split.broken


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "group"}, "There is no column 'group'; there are arm, spent."),
        ({"control": "zero"}, "No row has 'zero' in column 'arm'; it has a, none."),
        ({"metric": "arm"}, "Line 2: 'none' in column 'arm' is no number."),
        ({"weights": {"c": 1.0}}, "No row has 'c' in column 'arm'."),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, options: dict, message: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text("arm,spent\nnone,1\na,2\n")
    with pytest.raises(Invalid) as refused:
        experiment.evaluate(path, **{"arm": "arm", "control": "none", "metric": "spent", **options})
    assert message in str(refused.value)


@pytest.mark.parametrize(("few", "many"), [(0, 500), (1, 500), (0, 0)])
def test_an_arm_nobody_is_in_yet_is_no_error(few: int, many: int) -> None:
    values = np.arange(many, dtype=float)
    for counted in (True, False):
        other = rate("a", many, many // 2) if counted else arm("a", values)
        read = effects.compare(rate("holdout", few, 0), other, rate=counted)
        assert read.verdict == effects.TOO_FEW
        assert np.isfinite([read.interval.lower, read.interval.upper, read.p, read.sequential.upper]).all()
