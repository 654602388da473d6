"""A fitted candidate as plain numbers, and those numbers as SQL: what was trained in Python scores in the database.

Nothing is unpickled, the same formula serves one user, everybody and another engine, and what a model says can be
worked out by hand. `Parameters` is JSON: see `of` for its form. Features are columns of doubles, named as in
`targets.FEATURES`; the SQL is of those names and of numbers, nothing else, and PostgreSQL and DuckDB read it alike.
It is text because it is long: composing six hundred trees as expressions took two seconds, for one user as for all.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracle_lib.analyze.candidates import Candidate

Parameters = Mapping[str, Any]
# A leaf's value, or [place of the feature, threshold, unknown goes left, left, right]; up to the threshold goes left.
Tree = float | list[Any]
# Features of which another value is taken than the user's; None: unknown.
Fixed = Mapping[str, float | None]


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


def probability_sql(parameters: Parameters) -> str:
    """Return the probability (0-1) as SQL over columns that are doubles.

    A feature is named a hundred times: a statement over anything but a table would work it out as often.
    """
    calibration = parameters["calibration"]
    parts = [_part_sql(part, {}) for part in parameters["parts"]]
    mean = f"({' + '.join(parts)}) / {_number(len(parts))}"
    logit = f"{_number(calibration['level'])} + {_number(calibration['steepness'])} * ({mean})"
    # Beyond, exp() leaves what a double can hold.
    return f"1 / (1 + exp(-greatest(least({logit}, {_number(30)}), {_number(-30)})))"


def contribution_sql(parameters: Parameters, names: Collection[str]) -> str:
    """Return by how much the logit is higher than if `names` were as is typical (`parameters["typical"]`), as SQL."""
    typical = {name: parameters["typical"][name] for name in names}
    parts = [difference for part in parameters["parts"] if (difference := _difference_sql(part, typical))]
    if not parts:
        return _number(0)
    share = parameters["calibration"]["steepness"] / len(parameters["parts"])
    return f"{_number(share)} * ({' + '.join(parts)})"


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


def _part_sql(part: Mapping[str, Any], fixed: Fixed) -> str:
    """Return the logit of a part, with the value of `fixed` in place of the column of each feature it names."""
    if "curve" in part:
        curve = part["curve"]
        silence = _value("recency", fixed)
        return f"({_number(curve['intercept'])} + {_number(curve['slope'])} * ln(greatest({silence}, 0) + 1))"
    if "logistic" in part:
        logistic = part["logistic"]
        terms = [_term_sql(logistic, name, fixed) for name in logistic["weights"]]
        return f"({' + '.join([_number(logistic['intercept']), *terms])})"
    forest = part["trees"]
    trees = [_tree_sql(tree, forest["features"], fixed) for tree in forest["trees"]]
    return f"({' + '.join([_number(forest['baseline']), *trees])})"


def _difference_sql(part: Mapping[str, Any], typical: Fixed) -> str | None:
    """Return a part less the same part with `typical` values; only what they change of it, None where nothing."""
    if "curve" in part:
        return f"({_part_sql(part, {})} - {_part_sql(part, typical)})" if "recency" in typical else None
    if "logistic" in part:
        logistic = part["logistic"]
        touched = [name for name in logistic["weights"] if name in typical]
        pairs = [f"({_term_sql(logistic, name, {})} - {_term_sql(logistic, name, typical)})" for name in touched]
    else:
        names, trees = part["trees"]["features"], part["trees"]["trees"]
        pairs = [
            f"({_tree_sql(tree, names, {})} - {_tree_sql(tree, names, typical)})"
            for tree in trees
            if _reads(tree, names, typical)
        ]
    return f"({' + '.join(pairs)})" if pairs else None


def _term_sql(logistic: Mapping[str, Any], name: str, fixed: Fixed) -> str:
    value = _value(name, fixed)
    logged = f"sign({value}) * ln(abs({value}) + 1)"
    return f"{_number(logistic['weights'][name])} * coalesce({logged}, {_number(logistic['medians'][name])})"


def _tree_sql(tree: Tree, names: Sequence[str], fixed: Fixed) -> str:
    if isinstance(tree, float):
        return _number(tree)
    place, threshold, unknown_left, left, right = tree
    name = names[place]
    if name in fixed:
        value = fixed[name]
        goes_left = unknown_left if value is None else value <= threshold
        return _tree_sql(left if goes_left else right, names, fixed)
    # JSON has no infinity: a split of the known from the unknown.
    below = f"{name} IS NOT NULL" if math.isinf(threshold) else f"{name} <= {_number(threshold)}"
    goes_left = f"{below} OR {name} IS NULL" if unknown_left else below
    then, otherwise = (_tree_sql(side, names, fixed) for side in (left, right))
    return f"CASE WHEN {goes_left} THEN {then} ELSE {otherwise} END"


def _reads(tree: Tree, names: Sequence[str], among: Collection[str]) -> bool:
    if isinstance(tree, float):
        return False
    place, _, _, left, right = tree
    return names[place] in among or _reads(left, names, among) or _reads(right, names, among)


def _value(name: str, fixed: Fixed) -> str:
    if name not in fixed:
        return name
    value = fixed[name]
    return "NULL::float8" if value is None else _number(value)


def _number(value: float) -> str:
    """Write a double so that every engine reads the same one: without the exponent some would take it for a decimal."""
    digits = repr(float(value))
    return f"({digits if 'e' in digits else digits + 'e0'}::float8)"
