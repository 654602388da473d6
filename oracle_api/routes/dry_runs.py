"""`/api/oracle/rules/{id}/dry-run`: a rule tried on past days. It proposes, sends and stores nothing."""

from uuid import UUID

from fastapi import APIRouter

from oracle_api.auth import needs
from oracle_api.deps import Config, Conn, Now
from oracle_api.schemas.dry_runs import DryRunIn, DryRunOut
from oracle_lib.decide import definition

router = APIRouter(prefix="/api/oracle/rules", tags=["rules"])


@router.post("/{rule_id}/dry-run", dependencies=[needs("rules:write")])
def dry_run(conn: Conn, now: Now, settings: Config, rule_id: UUID, body: DryRunIn) -> DryRunOut:
    """Say what a rule, or a draft of its next version, would have proposed on past days."""
    # Not at import: the API starts without the libraries that compile conditions.
    from oracle_lib.decide import dry_run as dry_runs

    made = dry_runs.run(
        conn,
        rule_id,
        body.first,
        body.last,
        now=now,
        settings=settings,
        draft=None if body.definition is None else definition.read(body.definition),
        samples=body.samples,
    )
    return DryRunOut.model_validate(made)
