"""A fitted candidate as plain numbers, and those numbers as an expression: what was trained in Python scores in SQL.

Nothing is unpickled, the same formula serves one user, everybody and another engine, and what a model says can be
worked out by hand. `Parameters` is JSON: see `of` for its form. Features are columns of doubles, named as in
`targets.FEATURES`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ibis

if TYPE_CHECKING:
    from oracle_lib.analyze.candidates import Candidate

Parameters = Mapping[str, Any]
# A leaf's value, or [place of the feature, threshold, unknown goes left, left, right]; up to the threshold goes left.
Tree = float | list[Any]


def of(candidate: "Candidate") -> dict[str, Any]:
    """Return a candidate as JSON.

    `calibration` has `level` and `steepness` of the logit. `parts`, whose mean is the logit, are `{"curve": {intercept,
    slope}}` over log(1 + recency), `{"logistic": {intercept, weights, medians}}` by feature over sign * log(1 + |x|),
    `{"trees": {features, baseline, trees}}`.
    """
    return {
        "kind": candidate.kind,
        "calibration": candidate.calibration.now,
        "parts": [_part(one, candidate.features) for one in candidate.parts.values()],
    }


def probability_expr(state: ibis.Table, parameters: Parameters) -> ibis.Value:
    """Return the probability (0-1) for rows of `state`, whose features are plain columns of doubles.

    A feature is named a hundred times: a statement over anything but a table would work it out as often.
    """
    logits = [_part_expr(state, part) for part in parameters["parts"]]
    calibration = parameters["calibration"]
    logit = calibration["level"] + calibration["steepness"] * (_sum(logits) / float(len(logits)))
    # Beyond, exp() leaves what a double can hold.
    return 1.0 / (1.0 + (-ibis.greatest(ibis.least(logit, 30.0), -30.0)).exp())


def features(parameters: Parameters) -> list[str]:
    """Return the names of the features that a formula reads."""
    found = {"recency"} if any("curve" in part for part in parameters["parts"]) else set()
    for part in parameters["parts"]:
        found |= set(part.get("logistic", {}).get("weights", ())) | set(part.get("trees", {}).get("features", ()))
    return sorted(found)


def _part(estimator: Any, names: Sequence[str]) -> dict[str, Any]:
    if hasattr(estimator, "_predictors"):
        trees = [_tree(one[0].nodes, 0) for one in estimator._predictors]
        baseline = float(estimator._baseline_prediction.ravel()[0])
        return {"trees": {"features": list(names), "baseline": baseline, "trees": trees}}
    if not hasattr(estimator, "named_steps"):
        return {"curve": {"intercept": float(estimator.intercept_[0]), "slope": float(estimator.coef_[0][0])}}
    steps = estimator.named_steps
    scaler, regression = steps["standardscaler"], steps["logisticregression"]
    weights = regression.coef_[0] / scaler.scale_
    return {
        "logistic": {
            "intercept": float(regression.intercept_[0] - (weights * scaler.mean_).sum()),
            "weights": dict(zip(names, map(float, weights), strict=True)),
            "medians": dict(zip(names, map(float, steps["simpleimputer"].statistics_), strict=True)),
        }
    }


def _tree(nodes: Any, place: int) -> Tree:
    node = nodes[place]
    if node["is_leaf"]:
        return float(node["value"])
    left, right = (_tree(nodes, int(node[side])) for side in ("left", "right"))
    return [int(node["feature_idx"]), float(node["num_threshold"]), bool(node["missing_go_to_left"]), left, right]


def _part_expr(state: ibis.Table, part: Mapping[str, Any]) -> ibis.Value:
    if "curve" in part:
        curve = part["curve"]
        return curve["intercept"] + curve["slope"] * (ibis.greatest(state.recency, 0.0) + 1.0).ln()
    if "logistic" in part:
        logistic = part["logistic"]
        terms = [
            weight * ibis.coalesce(_signed_log(state[name]), logistic["medians"][name])
            for name, weight in logistic["weights"].items()
        ]
        return logistic["intercept"] + _sum(terms)
    forest = part["trees"]
    values = [state[name] for name in forest["features"]]
    return forest["baseline"] + _sum([_tree_expr(tree, values) for tree in forest["trees"]])


def _tree_expr(tree: Tree, values: Sequence[ibis.Value]) -> ibis.Value:
    if isinstance(tree, float):
        return ibis.literal(tree)
    place, threshold, unknown_left, left, right = tree
    value = values[place]
    # JSON has no infinity: a split of the known from the unknown.
    below = value.notnull() if math.isinf(threshold) else value <= threshold
    goes_left = (below | value.isnull()) if unknown_left else below
    return ibis.cases((goes_left, _tree_expr(left, values)), else_=_tree_expr(right, values))


def _sum(terms: Sequence[ibis.Value]) -> ibis.Value:
    """Add pairwise: hundreds of terms one after the other would nest deeper than a compiler goes."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return _sum(terms[:half]) + _sum(terms[half:])


def _signed_log(value: ibis.Value) -> ibis.Value:
    return value.sign() * (value.abs() + 1.0).ln()
