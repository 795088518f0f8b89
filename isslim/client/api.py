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

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter

from isslim.client.aliases import AliasesClient
from isslim.client.forms import DamagedDownload, GraphRun, ProblemError, Unreachable, WrongSetting
from isslim.client.jobs import JobsClient
from isslim.client.transport import part
from isslim.types.arrays import dump_npz, read_npz
from isslim.types.kinds.uploads import Companions
from isslim.types.manifest import FileRecord, Manifest
from isslim.types.report import Report
from isslim.types.schemas.generation import GenerateRequest, GenerateResponse, TokenEvent
from isslim.types.schemas.graphs import GraphResponse
from isslim.types.schemas.kinds import KindView
from isslim.types.schemas.models import (
    About,
    Health,
    LatencyResponse,
    ModelDetail,
    ModelSummary,
)
from isslim.types.schemas.questions import QuestionResponse
from isslim.types.schemas.scores import ScoreResponse
from isslim.types.schemas.status import ServiceStatus

__all__ = [
    "Client",
    "Companions",
    "DamagedDownload",
    "GraphRun",
    "ProblemError",
    "Unreachable",
    "WrongSetting",
]
_FILES = TypeAdapter(list[FileRecord])
_KINDS = TypeAdapter(list[KindView])
_MODELS = TypeAdapter(list[ModelSummary])
Json = dict[str, Any]


class Client(JobsClient, AliasesClient):
    """Talks to one service; see `Transport` for its arguments."""

    def about(self) -> About:
        """Name and version of the service."""
        return About.model_validate(self._ask("GET", "/"))

    def health(self) -> Health:
        """What the service has, once it is ready.

        Raises:
            ProblemError: when it is not.
        """
        return Health.model_validate(self._ask("GET", "/health/ready"))

    def status(self) -> ServiceStatus:
        """Workers, jobs, models, disk and versions of the service."""
        return ServiceStatus.model_validate(self._ask("GET", "/status"))

    def models(self) -> list[ModelSummary]:
        """All models, newest first."""
        return _MODELS.validate_python(self._ask("GET", "/models"))

    def kinds(self) -> list[KindView]:
        """The kinds of models that the service knows, with their metrics."""
        return _KINDS.validate_python(self._ask("GET", "/kinds"))

    def model(self, model: str) -> ModelDetail:
        """A model's id and manifest, by id or name."""
        return ModelDetail.model_validate(self._ask("GET", f"/models/{part(model)}"))

    def manifest(self, model: str) -> Manifest:
        """A model's manifest, by id or name."""
        return self.model(model).manifest

    def report(self, model: str) -> Report:
        """The trade-off curve, the verdict and samples of a model, by id or name."""
        return Report.model_validate(self._ask("GET", f"/models/{part(model)}/report"))

    def files(self, model: str) -> list[FileRecord]:
        """The files of a model's bundle, the manifest first, by id or name."""
        return _FILES.validate_python(self._ask("GET", f"/models/{part(model)}/files"))

    def download(self, model: str, path: str, target: Path) -> Path:
        """Downloads one file of a model's bundle and checks its hash.

        Args:
            model: id or name.
            path: of the file in the bundle, as `files` lists it.
            target: the file to write, or an existing folder to write it into under
                its own name.

        Returns:
            The file that was written; it appears only once it is whole.

        Raises:
            ProblemError: when there is no such model or file.
            DamagedDownload: when another content than the listed one arrived.
        """
        listed = {each.path: each.sha256 for each in self.files(model)}
        whole = target / PurePosixPath(path).name if target.is_dir() else target
        partial = whole.with_name(f".{whole.name}.{secrets.token_hex(4)}.partial")
        address = "/".join(map(part, ("models", model, "files", *path.split("/"))))
        try:
            with partial.open("xb") as file:
                found = self._download(f"/{address}", file)
            if found != listed.get(path):
                raise DamagedDownload(
                    f"'{path}' of '{model}': SHA-256 {found} arrived, {listed.get(path)} is "
                    "listed; the model may have been replaced meanwhile: download it again"
                )
            partial.replace(whole)
        finally:
            partial.unlink(missing_ok=True)
        return whole

    def card(self, model: str) -> str:
        """A model's card, Markdown."""
        return self._raw("GET", f"/models/{part(model)}/card").text

    def delete(self, model: str) -> None:
        """Deletes a model."""
        self._raw("DELETE", f"/models/{part(model)}")

    def score(  # noqa: PLR0913 - the fields of the request, by name
        self,
        model: str,
        texts: list[str],
        variants: list[str] | None = None,
        *,
        per_token: bool = False,
        device: str = "cpu",
        state: str | None = None,
        return_state: bool = False,
    ) -> ScoreResponse:
        """Scores texts with one or several variants.

        Args:
            model: id or name.
            texts: at least one.
            variants: none: the original and the recommended one, on a GPU of those in float32.
            per_token: whether every token's log-probability is returned.
            device: where to run, `cpu` or `cuda`.
            state: where the only text goes on, as an earlier answer returned it.
            return_state: whether the answer holds where the only text stands then.

        Raises:
            ProblemError: when the service refuses a text or the state, or the model is no language
                model.
        """
        body = {
            "model": model,
            "texts": texts,
            "variants": variants or [],
            "per_token": per_token,
            "device": device,
            "state": state,
            "return_state": return_state,
        }
        return ScoreResponse.model_validate(self._ask("POST", "/score", json=body))

    def generate(self, request: GenerateRequest) -> GenerateResponse:
        """Continues a text with one or several variants.

        Raises:
            ProblemError: when the service refuses it, or the model is no language model.
        """
        body = request.model_dump(exclude_defaults=True) | {"stream": False}
        return GenerateResponse.model_validate(self._ask("POST", "/generate", json=body))

    def generate_stream(self, request: GenerateRequest) -> Iterator[TokenEvent | GenerateResponse]:
        """As `generate`, with every token as it comes, and last the answer without its tokens.

        Raises:
            ProblemError: when the service refuses it, at once or on the way.
        """
        body = request.model_dump(exclude_defaults=True) | {"stream": True}
        for event in self._posted_events("/generate", body):
            kind = TokenEvent if event.name == "token" else GenerateResponse
            yield kind.model_validate_json(event.data)

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
            variants: none: the original and the recommended one, on a GPU of those in float32.
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
            variants: none: the original and the recommended one, on a GPU of those in float32.
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
            variants: none: the original and the recommended one, on a GPU of those in float32.
            outputs: which of the graph's outputs; none: all.
            device: where to run, `cpu` or `cuda`.

        Returns:
            The runs by variant, in the order requested.

        Raises:
            ProblemError: when the service refuses the inputs, or the model is no graph.
        """
        response = self._raw(
            "POST",
            f"/models/{part(model)}/run",
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

    def run_plain(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        variants: Sequence[str] = (),
        *,
        outputs: Sequence[str] = (),
        device: str = "cpu",
    ) -> GraphResponse:
        """Runs a graph as `run` does, with outputs as lists of numbers; for small arrays.

        Args:
            model: id or name.
            inputs: every input of the graph by its name.
            variants: none: the original and the recommended one, on a GPU of those in float32.
            outputs: which of the graph's outputs; none: all.
            device: where to run, `cpu` or `cuda`.

        Raises:
            ProblemError: when the service refuses the inputs, or the outputs are too many numbers.
        """
        body = {
            "inputs": {name: array.tolist() for name, array in inputs.items()},
            "variants": list(variants),
            "outputs": list(outputs),
            "device": device,
        }
        found = self._ask("POST", f"/models/{part(model)}/run", json=body)
        return GraphResponse.model_validate(found)

    def latency(  # noqa: PLR0913 - the parameters of the request, by name
        self,
        model: str,
        *,
        steps: int | None = None,
        batch: int | None = None,
        run: str | None = None,
        threads: int = 1,
        device: str | None = None,
        refresh: bool = False,
    ) -> LatencyResponse:
        """Compares the variants' latency on the service's host.

        Args:
            model: id or name.
            steps: tokens of each sequence; None for the usual number, or for a graph as recorded.
            batch: sequences in the batch; None for one, or for a graph as recorded.
            run: for a graph: the `median`, `smallest` or `largest` recorded run.
            threads: of one run.
            device: `cpu` or `cuda`; None for every device that the service has.
            refresh: measure again, even if there is a measurement.
        """
        asked = {"steps": steps, "batch": batch, "run": run, "threads": threads, "device": device}
        asked["refresh"] = refresh
        query = {name: value for name, value in asked.items() if value is not None}
        found = self._ask("GET", f"/models/{part(model)}/latency", params=query)
        return LatencyResponse.model_validate(found)
