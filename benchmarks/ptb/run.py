"""Trains one configuration and writes its record.

    python -m benchmarks.ptb.run medium [--seed 1] [--corpus ptb]

A configuration is a file of `configs/` (or any path). Its `method` is `dense`, `direct` (the sizes
that a method found, dense, from scratch), `group_lasso` (the paper's learner; dead components are
taken out at the end, by the paper's rule) or `cut` (another run's network, made smaller and trained
on: see `start.py`). A GPU is used where there is one. Records, models and checkpoints are written
to `benchmarks/output/ptb/<name>-<seed>/`; a run that was stopped continues. The test text is scored
as the paper does it: one stream, carried state, the weights of the last epoch unless the plan says
`best`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.ptb.start import Start, cut, trained_network
from isslim.compress.commands.corpus_loading import ReadCorpus, read_corpus
from isslim.compress.commands.experiment import Experiment, carry_out
from isslim.compress.devices import device_named
from isslim.compress.kinds.language.networks.contract import LanguageModel
from isslim.compress.kinds.language.networks.registry import build, spec_of
from isslim.compress.kinds.language.training.evaluation import perplexity_on_device
from isslim.compress.layers.regularisation import Regularisation
from isslim.compress.training.learners.group_lasso import PaperGroupLasso
from isslim.compress.training.plan import TrainingPlan
from isslim.compress.training.ranks import Ranks

CONFIGS = Path(__file__).parent / "configs"
OUTPUT = Path("benchmarks") / "output" / "ptb"
VOCABULARY = 10_000
METHODS = ("dense", "direct", "group_lasso", "cut")


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run(parser)
    parser.add_argument("--epochs", type=float, help="instead of the configuration's")
    parser.add_argument("--minutes", type=float, help="train by the clock instead of by epochs")
    arguments = parser.parse_args()
    changed = {
        name: value
        for name in ("epochs", "minutes")
        if (value := getattr(arguments, name)) is not None
    }
    record = run(arguments.config, arguments.seed, arguments.corpus, arguments.output, changed)
    sys.stdout.write(f"{record}\n")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a run: its configuration, seed and corpus, and where runs lie."""
    parser.add_argument("config", help="a name in configs/, or the path of a TOML file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--corpus",
        default="ptb",
        help="see isslim/compress/kinds/language/corpus.py; ptb is looked for below ISS_DATA",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)


def path_of(name: str) -> Path:
    """The file of a configuration: one of `configs/` by its name, else the path itself."""
    known = CONFIGS / f"{name}.toml"
    return known if known.exists() else Path(name)


def run(
    name: str,
    seed: int,
    corpus: str,
    output: Path,
    changed: Mapping[str, float] = MappingProxyType({}),
) -> Path:
    """Trains a configuration and returns the path of its record.

    Args:
        name: of the configuration, or its path.
        seed: of the weights and of the order of the text.
        corpus: as `load_corpus` takes it.
        output: the folder of all runs.
        changed: fields of the plan that replace the configuration's.

    Raises:
        ValueError: when the configuration's method is not known.
    """
    path = path_of(name)
    config = tomllib.loads(path.read_text())
    if config["method"] not in METHODS:
        raise ValueError(
            f"'{path}': the method '{config['method']}' is not one of {', '.join(METHODS)}"
        )
    plan = TrainingPlan(seed=seed, **config["plan"] | changed)
    text = read_corpus(corpus, VOCABULARY)
    folder = output / f"{path.stem}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    teacher, first = beginning(config, text, seed, output)
    device = device_named()
    experiment = Experiment(
        first.to(device),
        text,
        plan,
        folder,
        PaperGroupLasso(**config["learner"]) if config["method"] == "group_lasso" else None,
        None if teacher is None else teacher.to(device),
        config["plan"]["epochs"],
    )
    about = {
        "config": config,
        "name": path.stem,
        "method": config["method"],
        "corpus": corpus,
    }
    carry_out(experiment, Ranks(), _show, about)
    return folder / "record.json"


def beginning(
    config: dict[str, Any], text: ReadCorpus, seed: int, output: Path
) -> tuple[LanguageModel | None, LanguageModel]:
    """The teacher, if there is one, and the network that training begins with.

    Args:
        config: the configuration.
        text: vocabulary and tokens of the corpus.
        seed: of weights that are drawn.
        output: the folder of all runs.
    """
    if config["method"] != "cut":
        return None, network_of(config, len(text.words), seed)
    start = Start(**config["start"])
    whole = trained_network(output, start.of, start.seed)
    first = cut(whole, start, output, text.train, Regularisation(**config["regularisation"]), seed)
    found = perplexity_on_device(first, text.valid)
    _show(0.0, f"cut to {dict(first.declaration().axes)}: validation perplexity {found:.2f}")
    return (whole if start.teacher else None), first


def network_of(config: dict[str, Any], vocabulary: int, seed: int) -> LanguageModel:
    """The untrained network of a configuration.

    Args:
        config: the configuration.
        vocabulary: V, the number of words.
        seed: of the weights.
    """
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
