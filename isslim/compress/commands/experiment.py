"""One training with its record: what every command that trains a language model has in common.

After training the components that do not live, if a learner says so, are taken out; both texts are
scored, and the folder gets the model and the record.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isslim.compress.commands.corpus_loading import ReadCorpus
from isslim.compress.commands.saving import save_record, training_length
from isslim.compress.errors import TrainingDiverged
from isslim.compress.kinds.language.folder import save_model
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.training.evaluation import perplexity
from isslim.compress.kinds.language.training.loop import train
from isslim.compress.kinds.language.training.plan import TrainingOutcome
from isslim.compress.progress import ProgressCallback
from isslim.compress.pruning import axes
from isslim.compress.training.checkpoints import described
from isslim.compress.training.hooks import Learner
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks
from isslim.compress.training.sparsity import QUANTILES, unit_norms
from isslim.types.axis_names import is_units

CHECKPOINT = "training.checkpoint"


@dataclass(frozen=True)
class Experiment:
    """What is trained, on what, and how.

    Attributes:
        network: to begin with, on its device.
        corpus: its three texts.
        plan: of the training.
        folder: takes model, record and checkpoint; it exists.
        learner: of the structure, if any.
        teacher: to distil from, if any.
        asked_epochs: of the configuration, where the plan was made shorter; None: the plan's.
    """

    network: LanguageModel
    corpus: ReadCorpus
    plan: TrainingPlan
    folder: Path
    learner: Learner | None = None
    teacher: LanguageModel | None = None
    asked_epochs: float | None = None


def carry_out(
    experiment: Experiment, group: Ranks, progress: ProgressCallback, about: dict[str, Any]
) -> dict[str, Any]:
    """Trains, or continues from the checkpoint; the first process writes model and record.

    Args:
        experiment: what to train.
        group: the processes that train together.
        progress: called with the share done and a line to show.
        about: what the record says first.

    Returns:
        The record; empty in other processes than the first.

    Raises:
        TrainingDiverged: after the best model so far and the record were written.
    """
    setbacks: list[str] = []
    about = about | {"processes": group.world}

    def show(done: float, line: str) -> None:
        progress(done, line)
        if line.startswith("rolled back"):
            setbacks.append(line)

    try:
        trained = train(
            experiment.network,
            experiment.corpus.train,
            experiment.plan,
            teacher=experiment.teacher,
            learner=experiment.learner,
            valid=experiment.corpus.valid,
            checkpoint=experiment.folder / CHECKPOINT,
            progress=show,
        )
    except TrainingDiverged as error:
        if group.first:
            _write(experiment, error.best, about | {"setbacks": error.issues})
        raise
    return _write(experiment, trained, about | {"setbacks": setbacks}) if group.first else {}


def _write(
    experiment: Experiment, trained: TrainingOutcome, about: dict[str, Any]
) -> dict[str, Any]:
    """Model and record; returns the record."""
    corpus, plan = experiment.corpus, experiment.plan
    norms = unit_norms(trained.network)
    network = _without_dead(trained.network, experiment.learner)
    declaration = network.declaration()
    save_model(experiment.folder, network, corpus.words)
    segments = (len(corpus.train) // plan.batch - 1) // plan.steps
    steps = sum(epoch.steps for epoch in trained.epochs)
    record = about | {
        "plan": asdict(plan),
        "seed": plan.seed,
        "learner": None if experiment.learner is None else described(experiment.learner),
        "vocabulary": len(corpus.words),
        "tokens": {part: len(getattr(corpus, part)) for part in ("train", "valid", "test")},
        "left_out": corpus.left_out,
        "unknown_share": corpus.unknown_share,
        "architecture": network.architecture.removesuffix("-language-model"),
        "sizes": dict(declaration.axes),
        "units": [size for axis, size in declaration.axes.items() if is_units(axis)],
        "parameters": axes.parameters(declaration),
        "mult_adds": axes.mult_adds(declaration),
        # The test text is one stream with carried state, as the paper scores it; validation is the
        # quick estimate.
        "valid_perplexity": perplexity(network, corpus.valid),
        "test_perplexity": perplexity(network, corpus.test, streams=1),
        "length": training_length(asdict(plan), steps, segments, experiment.asked_epochs),
        "seconds": round(sum(epoch.seconds for epoch in trained.epochs), 1),
        "quantiles": QUANTILES,
        "epochs": [vars(record) for record in trained.epochs],
        "norms": norms,
    }
    save_record(experiment.folder, record)
    return record


def _without_dead(network: LanguageModel, learner: Learner | None) -> LanguageModel:
    """The network without the components that its learner counts as removed."""
    if learner is None:
        return network
    learner.attach(network)
    living = learner.living()
    if living is None:
        return network
    small, _ = axes.select_components(network.arrays(), network.declaration(), living)
    device = next(network.parameters()).device
    return network.rebuilt(small).to(device)
