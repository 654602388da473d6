"""Train on some rows, test on others, and say how it went, with silence alone beside it."""

from dataclasses import dataclass

from oracle_lib.analyze import candidates, measures
from oracle_lib.analyze.candidates import RECENCY, Rows
from oracle_lib.analyze.measures import Interval, Metrics
from oracle_lib.errors import Invalid


@dataclass(frozen=True)
class Figures:
    """One model on the test rows."""

    auc_interval: Interval
    metrics: Metrics


@dataclass(frozen=True)
class Evaluation:
    """What came of one evaluation. `lead` is the chosen model's AUC less that of recency, with its interval.

    `held_out_auc` are the figures by which the model was chosen, out of the training rows alone.
    """

    question: str
    trained_on: int
    trained_positives: int
    chosen: str
    note: str
    held_out_auc: dict[str, float]
    model: Figures
    recency: Figures
    lead: float
    lead_interval: Interval


def evaluate(question: str, train: Rows, test: Rows) -> Evaluation:
    """Choose and fit on `train`, measure on `test`. Raises `Invalid` where there is too little of either."""
    choice = candidates.choose(train)
    if choice is None:
        raise Invalid(
            f"{train.positives} of {len(train)} training rows are positive; at least {candidates.MIN_POSITIVES} of "
            "each kind are needed.",
            code="too_few",
        )
    if not 0 < test.positives < len(test):
        raise Invalid(f"{test.positives} of {len(test)} test rows are positive: there is nothing to tell apart.")
    said = choice.candidate.probability(test)
    baseline = candidates.fit(train)[RECENCY].probability(test)
    intervals, lead = measures.auc_intervals(said, baseline, test.outcome, test.user)
    model, recency = (
        Figures(interval, measures.measure(one, test.outcome))
        for interval, one in zip(intervals, (said, baseline), strict=True)
    )
    return Evaluation(
        question=question,
        trained_on=len(train),
        trained_positives=train.positives,
        chosen=choice.candidate.kind,
        note=choice.note,
        held_out_auc=choice.auc,
        model=model,
        recency=recency,
        lead=model.metrics.auc - recency.metrics.auc,
        lead_interval=lead,
    )
