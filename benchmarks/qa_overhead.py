"""What `/qa` adds to the runtime: `python -m benchmarks.qa_overhead [--json] [--tokens 150]`.

A real service process on the loopback interface with a published BiDAF of the paper's sizes and
random weights. One question to a context of `--tokens` words over HTTP, and the runtime's own
answer from the same arrays, in turn; then every stage as the service tells it. Tokenization counts
as added, as `service_overhead` counts it. The target: at most 3 ms at the median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.baseline import cache_folder
from benchmarks.loopback import PlainClient, paired, serving
from benchmarks.reader import LETTERS, publish_reader, random_reader
from isslim.compress.kinds.questions.networks.axes import BidafSpec
from isslim.runtime.questions.answering import answer, encode_question, tokenize_question
from isslim.runtime.questions.model import LoadedQuestionModel
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings

CHARACTERS = len(LETTERS) + 2
ORIGINAL = BidafSpec(vectors=100, characters=CHARACTERS)
COMPRESSED = BidafSpec(
    vectors=100, characters=CHARACTERS, filters=50, contextual=(50, 50), modelling0=(42, 45),
    modelling1=(19, 23), output=(17, 10),
)  # fmt: skip
"""Half of the paper's 1.48M row, for its time."""
VARIANTS = ("original", "compressed")
ROUNDS, WARM_UP = 300, 20


def main() -> None:
    """Publishes a model, starts the service, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tokens", type=int, default=150, help="of the context")
    arguments = parser.parse_args()
    words = _words(20_000)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        settings = StoreSettings(home=Path(name))
        bundle_id = publish_reader(
            settings, words, random_reader(ORIGINAL, 0), random_reader(COMPRESSED, 1)
        )
        with serving(Path(name)) as (url, _):
            model = LoadedQuestionModel(BundleStore(settings).open(bundle_id))
            result = {
                variant: overhead(url, model, variant, words, arguments.tokens)
                for variant in VARIANTS
            }
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for variant, figures in result.items():
            sys.stdout.write(
                f"{variant}\n"
                + "".join(f"  {key:14} {value:8.3f}\n" for key, value in figures.items())
            )


def overhead(
    url: str, model: LoadedQuestionModel, variant: str, words: list[str], tokens: int
) -> dict[str, float]:
    """Medians of a request, of the runtime's own run, in turn, and of the service's stages.

    Args:
        url: of the service.
        model: the same model, opened here.
        variant: which of its variants.
        words: to make a context and a question of.
        tokens: of the context.

    Returns:
        Milliseconds by name.
    """
    generator = np.random.default_rng(0)
    context, question = (
        " ".join(generator.choice(words, tokens)),
        " ".join(generator.choice(words, 11)),
    )
    session, reading = (
        model.session(variant),
        encode_question(model.codec, tokenize_question(question, context)),
    )
    body = json.dumps(
        {"model": model.id, "question": question, "context": context, "variants": [variant]}
    )
    with PlainClient(url) as client:
        figures, answers = paired(
            lambda: client.post("/qa", body), lambda: answer(session, reading), ROUNDS, WARM_UP
        )
    stages = [_stages(headers["server-timing"]) for headers, _ in answers]
    description = {
        f"{stage}_ms": statistics.median(each[stage] for each in stages) for stage in stages[0]
    }
    return figures | description


def _stages(header: str) -> dict[str, float]:
    """The stages of a Server-Timing header, in milliseconds."""
    parts = (part.split(";dur=") for part in header.split(", "))
    return {name: float(value) for name, value in parts}


def _words(count: int) -> list[str]:
    """Made-up words of 2 to 12 letters, each once."""
    generator = np.random.default_rng(1)
    letters = list(LETTERS[:26])
    made = ("".join(generator.choice(letters, generator.integers(2, 13))) for _ in range(2 * count))
    return list(dict.fromkeys(made))[:count]


if __name__ == "__main__":
    main()
