"""Commands that measure the models on files: how good they are on data that nobody here wrote."""

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from oracle_lib.errors import Invalid

app = typer.Typer(help="How good the models are on real data, from files.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


Train = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of the files to train on.")]
Test = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Folder to test on; without it TRAIN_DIR is split by time."),
]


@app.command()
def act_mooc(train_dir: Train, test: Test = None, *, as_json: Json = False) -> None:
    """Tell who drops out from the first week of an activity log (SNAP act-mooc), and how well."""
    from oracle_lib.evaluate import act_mooc as module

    _print(module.run(train_dir, test), as_json=as_json)


@app.command()
def oulad(train_dir: Train, test: Test = None, *, as_json: Json = False) -> None:
    """Tell who withdraws within 30 days of a course's 60th (OULAD), and how well."""
    from oracle_lib.evaluate import oulad as module

    _print(module.run(train_dir, test), as_json=as_json)


@app.command()
def ltv(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Purchases, a row each; .gz too.")],
    *,
    user: Annotated[str, typer.Option(help="Column of the customer: its name, or its number from 0.")],
    date: Annotated[str, typer.Option(help="Column of the day.")],
    amount: Annotated[str, typer.Option(help="Column of the amount.")],
    calibration_end: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="The last day the models may see.")
    ],
    as_json: Json = False,
) -> None:
    """Forecast purchases and revenue (BG/NBD, Gamma-Gamma) and hold them against what came."""
    from oracle_lib.evaluate import purchases

    columns = purchases.Columns(user, date, amount)
    _print(purchases.evaluate(file, columns, calibration_end.date()), as_json=as_json)


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A row a user, with a header; .gz too.")],
    *,
    arm: Annotated[str, typer.Option(help="Column that says which arm a user is in.")],
    control: Annotated[str, typer.Option(help="The arm that the others are held against.")],
    metric: Annotated[str, typer.Option(help="Column of the outcome: 0 or 1 for a rate, any number for a mean.")],
    weights: Annotated[str, typer.Option(help="Planned shares, such as a=0.8,b=0.2; equal if not given.")] = "",
    as_json: Json = False,
) -> None:
    """Read out an experiment that was run elsewhere: each arm against control."""
    from oracle_lib.evaluate import experiment as module

    _print(module.evaluate(file, arm=arm, control=control, metric=metric, weights=_weights(weights)), as_json=as_json)


def _weights(text: str) -> dict[str, float] | None:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.rpartition("=")
        try:
            found[name.strip()] = float(share)
        except ValueError:
            raise Invalid(f"{part!r} is no weight; write a=0.5,b=0.5.", field="weights") from None
    return found or None


def _print(report: Any, *, as_json: bool) -> None:
    facts = dataclasses.asdict(report)
    if as_json:
        typer.echo(json.dumps(_plain(facts), indent=2))
        return
    for name, value in _flat(facts):  # bins are shown as predicted/observed
        typer.echo(f"{name:<34} {_shown(value)}")


def _plain(value: Any) -> Any:
    """Return what JSON can say: no infinities, no NaN."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float():
            return value if math.isfinite(value) else None
    return value


def _flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in facts.items():
        rows += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", value)]
    return rows


def _shown(value: Any) -> str:
    match value:
        case float():
            return f"{value:,.4f}"
        case tuple():
            return ", ".join(f"{one['predicted']:.2f}/{one['observed']:.2f}" for one in value)
        case None:
            return "none"
    return str(value)
