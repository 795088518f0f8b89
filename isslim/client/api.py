"""A typed client of the service.

with Client("http://localhost:8000") as client:
    recipe = Recipe(name="mine")
    job = client.compress(Path("model.pt"), vocabulary=Path("words.txt"), recipe=recipe)
    job = client.wait(job.id)
    print(client.score(job.model_id, ["some text"]).variants[0].perplexity)
    print(client.answer("reader", "Who sat?", "The cat sat on the mat.").variants[0].answers[0])
    print(client.run("tagger", {"ids": ids})["compressed"].outputs["scores"])
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray
from pydantic import TypeAdapter

from isslim.client.forms import GraphRun, ProblemError, Unreachable
from isslim.client.transport import Transport, part
from isslim.types.arrays import dump_npz, read_npz
from isslim.types.inspection import Inspection
from isslim.types.jobs import Job, Sweep
from isslim.types.kinds.uploads import Companions
from isslim.types.manifest import Manifest
from isslim.types.recipe import Recipe
from isslim.types.schemas.models import LatencyResponse, ModelSummary
from isslim.types.schemas.questions import QuestionResponse
from isslim.types.schemas.scores import ScoreResponse

__all__ = ["Client", "Companions", "GraphRun", "ProblemError", "Unreachable"]
_JOBS = TypeAdapter(list[Job])
_MODELS = TypeAdapter(list[ModelSummary])
Json = dict[str, Any]


class Client(Transport):
    """Talks to one service; see `Transport` for its arguments."""

    def compress(
        self, model: Path, *, recipe: Recipe | None = None, **companions: Unpack[Companions]
    ) -> Job:
        """Uploads a model and queues its compression.

        Args:
            model: the model's file.
            recipe: options of the compression; None for the defaults.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        return Job.model_validate(self._upload("/compress", model, companions, recipe, {}))

    def inspect(
        self, model: Path, *, recipe: Recipe | None = None, **companions: Unpack[Companions]
    ) -> Inspection:
        """Uploads a model and returns what is understood of it; nothing is compressed.

        A refusal is also a result: its `understood` is false.

        Args:
            model: the model's file.
            recipe: options that a compression would have; None for the defaults.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses the form, or no worker is running.
        """
        found = self._upload("/inspect", model, companions, recipe, {})
        while "understood" not in found:  # it takes longer than the service waits
            time.sleep(0.3)
            found = self._ask("GET", f"/inspections/{part(found['id'])}")
        return Inspection.model_validate(found)

    def sweep(
        self,
        model: Path,
        variations: list[Json],
        *,
        recipe: Recipe | None = None,
        **companions: Unpack[Companions],
    ) -> Sweep:
        """Uploads a model and queues a compression for each variation of the recipe.

        Args:
            model: the model's file.
            variations: fields that replace the recipe's, such as `{"budget": {"perplexity_rise":
                0.02}}`.
            recipe: the options that the variations share.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        data = {"variations": json.dumps(variations)}
        return Sweep.model_validate(self._upload("/sweeps", model, companions, recipe, data))

    def get_sweep(self, sweep_id: str) -> Sweep:
        """The current state of a sweep."""
        return Sweep.model_validate(self._ask("GET", f"/sweeps/{part(sweep_id)}"))

    def cancel_sweep(self, sweep_id: str) -> Sweep:
        """Cancels a sweep's jobs."""
        return Sweep.model_validate(self._ask("DELETE", f"/sweeps/{part(sweep_id)}"))

    def job(self, job_id: str) -> Job:
        """The current state of a job."""
        return Job.model_validate(self._ask("GET", f"/jobs/{part(job_id)}"))

    def jobs(self) -> list[Job]:
        """All jobs, newest first."""
        return _JOBS.validate_python(self._ask("GET", "/jobs"))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job."""
        return Job.model_validate(self._ask("DELETE", f"/jobs/{part(job_id)}"))

    def wait(self, job_id: str, on_change: Callable[[Job], None] | None = None) -> Job:
        """Waits until a job has ended.

        Args:
            job_id: which job.
            on_change: called with the job each time it was polled.
        """
        while True:
            job = self.job(job_id)
            if on_change is not None:
                on_change(job)
            if job.state.ended:
                return job
            time.sleep(0.3)

    def models(self) -> list[ModelSummary]:
        """All models, newest first."""
        return _MODELS.validate_python(self._ask("GET", "/models"))

    def manifest(self, model: str) -> Manifest:
        """A model's manifest, by id or name."""
        return Manifest.model_validate(self._ask("GET", f"/models/{part(model)}")["manifest"])

    def card(self, model: str) -> str:
        """A model's card, Markdown."""
        return self._raw("GET", f"/models/{part(model)}/card").text

    def delete(self, model: str) -> None:
        """Deletes a model."""
        self._raw("DELETE", f"/models/{part(model)}")

    def score(
        self,
        model: str,
        texts: list[str],
        variants: list[str] | None = None,
        *,
        per_token: bool = False,
        device: str = "cpu",
    ) -> ScoreResponse:
        """Scores texts with one or several variants.

        Args:
            model: id or name.
            texts: at least one.
            variants: none: the original and the most compressed one, on a GPU of those in float32.
            per_token: whether every token's log-probability is returned.
            device: where to run, `cpu` or `cuda`.

        Raises:
            ProblemError: when the service refuses a text, or the model is no language model.
        """
        body = {
            "model": model,
            "texts": texts,
            "variants": variants or [],
            "per_token": per_token,
            "device": device,
        }
        return ScoreResponse.model_validate(self._ask("POST", "/score", json=body))

    def answer(  # noqa: PLR0913 - the fields of the request, by name
        self,
        model: str,
        question: str,
        context: str,
        variants: list[str] | None = None,
        *,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        device: str = "cpu",
    ) -> QuestionResponse:
        """Answers a question to a context with one or several variants; see `answer_all`.

        Args:
            model: id or name.
            question: to answer.
            context: the text that holds the answer.
            variants: none: the original and the most compressed one, on a GPU of those in float32.
            top_k: how many answers.
            max_answer_tokens: of one answer; None: the service's own limit.
            device: where to run, `cpu` or `cuda`.
        """
        pair = {"question": question, "context": context}
        return self.answer_all(
            model, [pair], variants, top_k=top_k, max_answer_tokens=max_answer_tokens, device=device
        )

    def answer_all(
        self,
        model: str,
        inputs: list[dict[str, str]],
        variants: list[str] | None = None,
        *,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        device: str = "cpu",
    ) -> QuestionResponse:
        """Answers several questions in one request, each as if it were sent alone.

        Args:
            model: id or name.
            inputs: `question` and `context` of each.
            variants: none: the original and the most compressed one, on a GPU of those in float32.
            top_k: how many answers to each.
            max_answer_tokens: of one answer; None: the service's own limit.
            device: where to run, `cpu` or `cuda`.

        Returns:
            Per variant the answers in the order of `inputs`, with the time of every stage.

        Raises:
            ProblemError: when the service refuses a text, or the model answers no questions.
        """
        body: Json = {
            "model": model,
            "inputs": inputs,
            "variants": variants or [],
            "top_k": top_k,
            "device": device,
        }
        if max_answer_tokens is not None:
            body["max_answer_tokens"] = max_answer_tokens
        return QuestionResponse.model_validate(self._ask("POST", "/qa", json=body))

    def run(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        variants: Sequence[str] = (),
        *,
        outputs: Sequence[str] = (),
        device: str = "cpu",
    ) -> dict[str, GraphRun]:
        """Runs a graph with one or several variants.

        Args:
            model: id or name.
            inputs: every input of the graph by its name.
            variants: none: the original and the most compressed one, on a GPU of those in float32.
            outputs: which of the graph's outputs; none: all.
            device: where to run, `cpu` or `cuda`.

        Returns:
            The runs by variant, in the order requested.

        Raises:
            ProblemError: when the service refuses the inputs, or the model is no graph.
        """
        response = self._raw(
            "POST",
            f"/models/{model}/run",
            content=dump_npz(inputs),
            headers={"content-type": "application/x-npz"},
            params={"variants": list(variants), "outputs": list(outputs), "device": device},
        )
        times = dict(re.findall(r"run-([\w-]+);dur=([\d.]+)", response.headers["server-timing"]))
        found: dict[str, dict[str, NDArray[Any]]] = {variant: {} for variant in times}
        for key, array in read_npz(response.content).items():
            variant, _, name = key.partition("/")
            found[variant][name] = array
        return {
            variant: GraphRun(arrays, float(times[variant])) for variant, arrays in found.items()
        }

    def latency(
        self,
        model: str,
        *,
        steps: int | None = None,
        batch: int | None = None,
        run: str | None = None,
        threads: int = 1,
        refresh: bool = False,
    ) -> LatencyResponse:
        """Compares the variants' latency on the service's host.

        Args:
            model: id or name.
            steps: tokens of each sequence; None for the usual number, or for a graph as recorded.
            batch: sequences in the batch; None for one, or for a graph as recorded.
            run: for a graph: the `median`, `smallest` or `largest` recorded run.
            threads: of one run.
            refresh: measure again, even if there is a measurement.
        """
        asked = {"steps": steps, "batch": batch, "run": run, "threads": threads, "refresh": refresh}
        query = {name: value for name, value in asked.items() if value is not None}
        found = self._ask("GET", f"/models/{part(model)}/latency", params=query)
        return LatencyResponse.model_validate(found)
