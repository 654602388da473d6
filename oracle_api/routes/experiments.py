"""`/api/oracle/experiments`: whether rules help, by arms that users fall into by chance."""

from uuid import UUID

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Conn, Now
from oracle_api.schemas.experiments import ExperimentOut, ExperimentsOut
from oracle_lib.learn import experiments
from oracle_lib.learn.experiments import Readout

router = APIRouter(prefix="/api/oracle/experiments", tags=["experiments"])


@router.get("", dependencies=[needs("report:read")])
def listing(conn: Conn, now: Now) -> ExperimentsOut:
    """Read out every experiment, those that run first."""
    return ExperimentsOut(experiments=[_shown(one) for one in experiments.listing(conn, now=now)])


@router.get("/{experiment_id}", dependencies=[needs("report:read")])
def get(conn: Conn, now: Now, experiment_id: UUID) -> ExperimentOut:
    """Read out one experiment."""
    return _shown(experiments.get(conn, experiment_id, now=now))


def _shown(read: Readout) -> ExperimentOut:
    told = [{**vars(effect), "summary": experiments.summary(read, effect)} for effect in read.effects]
    return ExperimentOut.model_validate({**vars(read), "effects": told})
