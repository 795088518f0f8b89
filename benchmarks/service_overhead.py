"""HTTP on top of the runtime, and a steady load.

`python -m benchmarks.service_overhead [--json] [--seconds 300]`

A real service process on the loopback interface with a small published model. First, a `/score` of
30 words against the runtime's own run of the same ids, and a streamed text of 200 tokens against
the runtime's own, each interleaved; then 16 clients for `--seconds`, with errors and memory watched
(its peak against twice the bytes of the variants in use plus 200 MB). `--paper-size` takes the
paper's 66 million weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import torch

from benchmarks.baseline import cache_folder
from benchmarks.loopback import PlainClient, paired, serving
from isslim.compress import pipeline
from isslim.compress.kinds.language.networks.lstm import LstmLanguageModel, LstmSpec
from isslim.compress.kinds.registry import UploadedFiles
from isslim.compress.progress import Progress
from isslim.runtime.language.generation import TokenStream, beginning, read
from isslim.runtime.language.model import LoadedLanguageModel
from isslim.runtime.language.sampling import Sampler, Sampling
from isslim.runtime.language.scoring import score_batch
from isslim.runtime.language.session import LanguageSession
from isslim.store.bundles import BundleStore
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe

SPEC, PAPER_SPEC = LstmSpec(10_000, 256, (256, 256)), LstmSpec(10_000, 1500, (1500, 1500))
CLIENTS, ROUNDS, WARM_UP = 16, 500, 20
STREAMED, STREAMS = 200, 30
"""Tokens of a streamed text, and how many are timed."""
TEXT = " ".join(f"w{index}" for index in range(30))


def main() -> None:
    """Publishes a model, starts the service, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--paper-size", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        settings = StoreSettings(home=Path(name))
        bundle_id = publish(settings, PAPER_SPEC if arguments.paper_size else SPEC)
        with serving(Path(name)) as (url, pid):
            result = overhead(url, LoadedLanguageModel(BundleStore(settings).open(bundle_id)))
            result |= streaming(url, LoadedLanguageModel(BundleStore(settings).open(bundle_id)))
            result |= load(url, pid, arguments.seconds)
            result["memory_peak_bytes"] = memory(pid, "VmHWM")
            result["memory_limit_bytes"] = limit_bytes(settings, bundle_id)
    if arguments.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write("".join(f"{key:24} {value:,.3f}\n" for key, value in result.items()))


def write_model(folder: Path, spec: LstmSpec) -> UploadedFiles:
    """A language model of random weights and its words, as files for an upload.

    Args:
        folder: that takes them.
        spec: of the network.
    """
    network = LstmLanguageModel(spec)
    network.initialise(0.05, torch.Generator().manual_seed(0))
    state = {
        name.replace("embedding", "embed").replace("layers.", "lstm."): w
        for name, w in network.state_dict().items()
    }
    torch.save(state, folder / "model.pt")
    (folder / "words.txt").write_text(
        "\n".join(["<eos>", "<unk>", *(f"w{index}" for index in range(spec.vocabulary - 2))])
    )
    return UploadedFiles(model=folder / "model.pt", vocabulary=folder / "words.txt")


def publish(settings: StoreSettings, spec: LstmSpec) -> str:
    """A model of random weights, compressed to half by the pipeline."""
    folder = settings.home
    inputs = write_model(folder, spec)
    recipe = Recipe(
        name="load",
        budget=Budget(size_ratio=0.5),
        calibration_tokens=2000,
        held_out_tokens=1000,
        minutes=0,
    )
    progress = Progress()
    compressed = pipeline.compress_files(inputs, recipe, folder, progress)
    return pipeline.publish(compressed, BundleStore(settings), progress)


def overhead(url: str, model: LoadedLanguageModel) -> dict[str, float]:
    """Medians of a request and of the runtime's own run, taken in turn."""
    session = model.session("compressed-int8")
    ids = model.codec.encode(TEXT)
    body = json.dumps({"model": model.id, "texts": [TEXT], "variants": ["compressed-int8"]})
    with PlainClient(url) as client:
        figures, _ = paired(
            lambda: client.post("/score", body),
            lambda: score_batch(session, [ids], model.codec.start_id),
            ROUNDS, WARM_UP,
        )  # fmt: skip
    return figures


def streaming(url: str, model: LoadedLanguageModel) -> dict[str, float]:
    """Medians of one token of a stream, over HTTP and in the runtime, which draws the same text."""
    session = model.session("compressed-int8")
    asked = {"model": model.id, "prompt": TEXT, "variants": ["compressed-int8"], "stream": True}
    body = json.dumps({**asked, "max_tokens": STREAMED, "seed": 1})

    with PlainClient(url) as client:
        figures, answers = paired(
            lambda: client.stream("/generate", body), lambda: drawn(model, session), STREAMS, 2
        )
    for answer in answers:
        if answer.count(b"event: token") != STREAMED:
            raise RuntimeError("a stream does not hold all of its tokens")
    return {f"token_{name}": value / STREAMED for name, value in figures.items()}


def drawn(model: LoadedLanguageModel, session: LanguageSession) -> None:
    """Draws the text that the service streams, in this process.

    Args:
        model: with a start token.
        session: of one of its variants.

    Raises:
        ValueError: when it has none.
    """
    ids, start_id = model.codec.encode(TEXT), model.codec.start_id
    if start_id is None:
        raise ValueError("the model has no start token")
    position, _ = read(session, ids, beginning(session, start_id))
    stream = TokenStream(position, Sampler(Sampling(), 1))
    for _ in range(STREAMED):
        stream.draw(session)


def load(url: str, pid: int, seconds: float) -> dict[str, float]:
    """Sixteen clients, one request after the other each; memory after a tenth and at the end.

    Args:
        url: of the service.
        pid: of its process.
        seconds: that it lasts.
    """
    stop, errors, answered = threading.Event(), [0], [0]
    body = {"model": "load", "texts": [TEXT]}

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                try:
                    good = client.post("/score", json=body).status_code == 200
                except httpx.TransportError:
                    good = False
                answered[0] += good
                errors[0] += not good

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 10)
    early = memory(pid, "VmRSS")
    time.sleep(seconds * 9 / 10)
    late = memory(pid, "VmRSS")
    stop.set()
    for thread in threads:
        thread.join()
    return {
        "load_seconds": seconds,
        "load_answers": answered[0],
        "load_errors": errors[0],
        "memory_early_bytes": early,
        "memory_late_bytes": late,
    }


def memory(pid: int, kind: str) -> int:
    """Memory of a process in bytes (Linux).

    Args:
        pid: the process.
        kind: `VmRSS` is what is resident now, `VmHWM` the most that ever was.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split(f"{kind}:")[1].split()[0])


def limit_bytes(settings: StoreSettings, bundle_id: str) -> int:
    """What the service may take: twice the variants in use, and 200 MB."""
    variants = BundleStore(settings).open(bundle_id).manifest.variants
    return 2 * (variants[0].size_bytes + variants[-1].size_bytes) + 200_000_000


if __name__ == "__main__":
    main()
