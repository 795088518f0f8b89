"""A model in MLflow: a run with its recipe, figures and bundle, and a registered version."""

from __future__ import annotations

import logging
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isslim.client.hub import SharingFailed, require_ascii
from isslim.types.hiding import shown_address, without_credentials
from isslim.types.manifest import Manifest
from isslim.types.schemas.figures import ManifestView

BUNDLE = "bundle"
"""Folder of the run's artifacts."""


@dataclass(frozen=True)
class Logged:
    """What was made.

    Attributes:
        run_id: of the run.
        model: name of the registered model.
        version: of it.
    """

    run_id: str
    model: str
    version: str


def parameters_of(manifest: Manifest) -> dict[str, str]:
    """The recipe as flat names: `budget.perplexity_rise`; what is not set is left out."""
    found: dict[str, str] = {}
    _flatten(manifest.recipe.model_dump(mode="json", exclude_none=True), "", found)
    return {"task": manifest.task, "architecture": manifest.architecture, **found}


def _flatten(value: Any, name: str, found: dict[str, str]) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _flatten(each, f"{name}.{key}" if name else key, found)
    else:
        found[name] = str(value)


def metrics_of(view: ManifestView) -> dict[str, float]:
    """The figures of every variant, as `<variant>.<figure>`."""
    found: dict[str, float] = {}
    for variant in view.variants:
        figures = {
            **variant.metrics,
            "parameters": variant.parameters,
            "mult_adds": variant.mult_adds,
            "size_ratio": variant.size_ratio,
            "speedup": variant.speedup,
        }
        for name, value in figures.items():
            if value is not None and math.isfinite(value):
                found[f"{variant.name}.{name}"] = float(value)
    return found


def log_model(
    view: ManifestView, model_id: str, folder: Path, uri: str, *, experiment: str, alias: str
) -> Logged:
    """Logs a model and registers it.

    Args:
        view: its manifest with figures.
        model_id: its id.
        folder: its bundle.
        uri: of MLflow's tracking server, or `sqlite:///...`.
        experiment: in which the run is made; made if there is none.
        alias: of the registered version.

    Raises:
        SharingFailed: when MLflow refuses it, or does not answer.
    """
    require_ascii("MLFLOW_TRACKING_TOKEN")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own libraries
        return _logged(view, model_id, folder, uri, (experiment, alias))


def _logged(
    view: ManifestView, model_id: str, folder: Path, uri: str, names: tuple[str, str]
) -> Logged:
    """As `log_model`; `names` are those of experiment and alias."""
    experiment, alias = names
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SharingFailed("MLflow needs `pip install 'isslim[mlflow]'`") from error
    # Its import sets these levels; standard error is for what matters.
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = client.get_experiment_by_name(experiment)
        parent = client.create_experiment(experiment) if found is None else found.experiment_id
        run = client.create_run(parent, run_name=view.name, tags={"isslim.model_id": model_id})
        run_id = run.info.run_id
        for name, text in parameters_of(view).items():
            client.log_param(run_id, name, text)
        for name, value in metrics_of(view).items():
            client.log_metric(run_id, name, value)
        client.log_artifacts(run_id, str(folder), BUNDLE)
        client.set_terminated(run_id)
        if not client.search_registered_models(f"name = '{view.name}'"):
            client.create_registered_model(view.name)
        source = f"{run.info.artifact_uri}/{BUNDLE}"
        version = client.create_model_version(view.name, source, run_id).version
        client.set_registered_model_alias(view.name, alias, version)
    except (MlflowException, OSError) as error:
        shown = shown_address(uri)
        reason = without_credentials(str(error).replace(uri, shown))
        raise SharingFailed(f"MLflow at {shown} did not take the model: {reason}") from error
    return Logged(run_id, view.name, str(version))
