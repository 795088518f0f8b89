"""Trains one configuration and writes its record: `python -m benchmarks.ptb.run medium [--seed 1]`.

A configuration is a file of `configs/` (or any path). Its `method` is `dense`, `direct` (the sizes that a method found,
dense, from scratch) or `group_lasso` (the paper's learner; dead components are taken out at the end, by the paper's rule).
Records, models and checkpoints lie in `benchmarks/output/ptb/<name>-<seed>/`; a run that was stopped goes on. The test
text is scored as the paper does it: one stream, carried state, the weights of the last epoch unless the plan says `best`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from compress import axes
from compress.commands.reading import read_corpus
from compress.commands.saving import save_model, save_record
from compress.learners.group_lasso import PaperGroupLasso
from compress.networks.contract import LanguageModel
from compress.networks.registry import build, spec_of
from compress.networks.regularisation import Regularisation
from compress.training.evaluation import perplexity
from compress.training.loop import train
from compress.training.plan import TrainingPlan

CONFIGS = Path(__file__).parent / "configs"
OUTPUT = Path("benchmarks") / "output" / "ptb"
VOCABULARY = 10_000
METHODS = ("dense", "direct", "group_lasso")


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a name in configs/, or the path of a TOML file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", default="ptb", help="see compress/corpus.py; ptb is looked for below ISS_DATA")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    record = run(arguments.config, arguments.seed, arguments.corpus, arguments.output)
    sys.stdout.write(f"{record}\n")


def run(name: str, seed: int, corpus: str, output: Path) -> Path:
    """Trains a configuration and returns the path of its record.

    Raises:
        ValueError: when the configuration's method is not known.
    """
    path = CONFIGS / f"{name}.toml" if (CONFIGS / f"{name}.toml").exists() else Path(name)
    config = tomllib.loads(path.read_text())
    if config["method"] not in METHODS:
        raise ValueError(f"'{path}': the method '{config['method']}' is not one of {', '.join(METHODS)}")
    plan = TrainingPlan(seed=seed, **config["plan"])
    text = read_corpus(corpus, VOCABULARY)
    folder = output / f"{path.stem}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    learner = PaperGroupLasso(**config["learner"]) if config["method"] == "group_lasso" else None
    trained = train(
        network_of(config, len(text.words), seed),
        text.train,
        plan,
        learner=learner,
        valid=text.valid,
        checkpoint=folder / "training.checkpoint",
        progress=_show,
    )
    network = trained.network
    if learner is not None:
        learner.attach(network)
        living = learner.living()
        if living is not None:
            small, _ = axes.take(network.arrays(), network.declaration(), living)
            network = network.rebuilt(small)
    declaration = network.declaration()
    save_model(folder, network, text.words, tied=bool(config["network"].get("tied", False)))
    content = {
        "config": config,
        "name": path.stem,
        "method": config["method"],
        "corpus": corpus,
        "seed": seed,
        "plan": asdict(plan),
        "units": [size for axis, size in declaration.axes.items() if axis.startswith("units:")],
        "parameters": axes.parameters(declaration),
        "mult_adds": axes.mult_adds(declaration),
        "valid_perplexity": perplexity(network, text.valid),
        "test_perplexity": perplexity(network, text.test, streams=1),
        "epochs": [vars(epoch) for epoch in trained.epochs],
    }
    save_record(folder, content)
    return folder / "record.json"


def network_of(config: dict[str, Any], vocabulary: int, seed: int) -> LanguageModel:
    """The untrained network of a configuration."""
    sizes = dict(config["network"])
    scale, kind = sizes.pop("initial_scale"), sizes.pop("architecture")
    spec = spec_of(kind, vocabulary, sizes.pop("embedding"), tuple(sizes.pop("units")), **sizes)
    network = build(spec, Regularisation(**config["regularisation"]))
    network.initialise(scale, torch.Generator().manual_seed(seed))
    return network


def _show(done: float, message: str) -> None:
    sys.stderr.write(f"{done:4.0%} {message}\n")


if __name__ == "__main__":
    main()
