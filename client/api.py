"""A typed client of the service.

with Client("http://localhost:8000") as client:
    job = client.compress(Path("model.pt"), vocabulary=Path("words.txt"), recipe=Recipe(name="mine"))
    job = client.wait(job.id)
    print(client.score(job.model_id, ["some text"]))
    print(client.answer("reader", "Who sat?", "The cat sat on the mat."))
    print(client.run("tagger", {"ids": ids})["compressed"].outputs["scores"])
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

import httpx
from numpy.typing import NDArray
from pydantic import TypeAdapter

from client.beside import data_beside
from client.forms import Companions, GraphRun, ProblemError, Unreachable
from store.arrays import npz, read_npz
from store.jobs import Job, Sweep
from store.manifest import Manifest
from store.recipe import Recipe

_JOBS = TypeAdapter(list[Job])
Json = dict[str, Any]


class Client:
    """Talks to one service.

    Args:
        url: its address.
        timeout: seconds for one answer; a comparison of a large model takes a while.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", timeout: float = 300.0) -> None:
        self.url = url
        try:
            self._http = httpx.Client(base_url=url, timeout=timeout)
        except httpx.InvalidURL as error:
            raise Unreachable(f"'{url}' is no address: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def compress(self, model: Path, *, recipe: Recipe | None = None, **companions: Unpack[Companions]) -> Job:
        """Uploads a model and queues its compression.

        Args:
            model: the model's file.
            recipe: what is asked; None: the defaults.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        return Job.model_validate(self._upload("/compress", model, companions, recipe, {}))

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
            variations: fields that replace the recipe's, such as `{"budget": {"perplexity_rise": 0.02}}`.
            recipe: what the variations have in common.
            companions: the files beside it.

        Raises:
            ProblemError: when the service refuses it.
        """
        data = {"variations": json.dumps(variations)}
        return Sweep.model_validate(self._upload("/sweeps", model, companions, recipe, data))

    def get_sweep(self, sweep_id: str) -> Sweep:
        """A sweep as it is now."""
        return Sweep.model_validate(self._ask("GET", f"/sweeps/{_part(sweep_id)}"))

    def cancel_sweep(self, sweep_id: str) -> Sweep:
        """Cancels a sweep's jobs."""
        return Sweep.model_validate(self._ask("DELETE", f"/sweeps/{_part(sweep_id)}"))

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return Job.model_validate(self._ask("GET", f"/jobs/{_part(job_id)}"))

    def jobs(self) -> list[Job]:
        """All jobs, newest first."""
        return _JOBS.validate_python(self._ask("GET", "/jobs"))

    def cancel(self, job_id: str) -> Job:
        """Cancels a job."""
        return Job.model_validate(self._ask("DELETE", f"/jobs/{_part(job_id)}"))

    def wait(self, job_id: str, on_change: Callable[[Job], None] | None = None) -> Job:
        """Waits until a job has ended, telling of its changes."""
        while True:
            job = self.job(job_id)
            if on_change is not None:
                on_change(job)
            if job.state.ended:
                return job
            time.sleep(0.3)

    def models(self) -> list[Json]:
        """All models, newest first."""
        found: list[Json] = self._ask("GET", "/models")
        return found

    def manifest(self, model: str) -> Manifest:
        """A model's manifest, by id or name."""
        return Manifest.model_validate(self._ask("GET", f"/models/{_part(model)}")["manifest"])

    def card(self, model: str) -> str:
        """A model's card, Markdown."""
        return self._raw("GET", f"/models/{_part(model)}/card").text

    def delete(self, model: str) -> None:
        """Deletes a model."""
        self._raw("DELETE", f"/models/{_part(model)}")

    def score(
        self,
        model: str,
        texts: list[str],
        variants: list[str] | None = None,
        *,
        per_token: bool = False,
        device: str = "cpu",
    ) -> Json:
        """Scores texts with one or several variants."""
        body = {
            "model": model, "texts": texts, "variants": variants or [], "per_token": per_token, "device": device,
        }  # fmt: skip
        found: Json = self._ask("POST", "/score", json=body)
        return found

    def answer(
        self,
        model: str,
        question: str,
        context: str,
        variants: list[str] | None = None,
        *,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        device: str = "cpu",
    ) -> Json:
        """Answers a question to a context with one or several variants; see `answer_all`."""
        pair = {"question": question, "context": context}
        return self.answer_all(model, [pair], variants, top_k=top_k, max_answer_tokens=max_answer_tokens, device=device)

    def answer_all(
        self,
        model: str,
        inputs: list[dict[str, str]],
        variants: list[str] | None = None,
        *,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        device: str = "cpu",
    ) -> Json:
        """Answers several questions at once, each as if it came alone.

        Args:
            model: id or name.
            inputs: of each its `question` and its `context`.
            variants: none: the original and the most compressed one, on a GPU of those in float32.
            top_k: how many answers to each.
            max_answer_tokens: of one answer; None: the service's own limit.
            device: where to run, `cpu` or `cuda`.

        Returns:
            Per variant the answers in the order of `inputs`: `answer`, `score`, `start`, `end` (characters of the
            context), and the best `top_k`; with the time of every stage.

        Raises:
            ProblemError: when the service refuses a text, or the model answers no questions.
        """
        body: Json = {
            "model": model, "inputs": inputs, "variants": variants or [], "top_k": top_k, "device": device,
        }  # fmt: skip
        if max_answer_tokens is not None:
            body["max_answer_tokens"] = max_answer_tokens
        found: Json = self._ask("POST", "/qa", json=body)
        return found

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
            The runs by variant, in the order asked for.

        Raises:
            ProblemError: when the service refuses the inputs, or the model is no graph.
        """
        response = self._raw(
            "POST",
            f"/models/{model}/run",
            content=npz(inputs),
            headers={"content-type": "application/x-npz"},
            params={"variants": list(variants), "outputs": list(outputs), "device": device},
        )
        times = dict(re.findall(r"run-([\w-]+);dur=([\d.]+)", response.headers["server-timing"]))
        found: dict[str, dict[str, NDArray[Any]]] = {variant: {} for variant in times}
        for key, array in read_npz(response.content).items():
            variant, _, name = key.partition("/")
            found[variant][name] = array
        return {variant: GraphRun(arrays, float(times[variant])) for variant, arrays in found.items()}

    def latency(self, model: str, *, steps: int = 30, batch: int = 1, threads: int = 1, refresh: bool = False) -> Json:
        """Compares the variants' latency on the service's host."""
        query = {"steps": steps, "batch": batch, "threads": threads, "refresh": refresh}
        found: Json = self._ask("GET", f"/models/{_part(model)}/latency", params=query)
        return found

    def ready(self) -> bool:
        """Whether the service can answer."""
        try:
            return self._http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _upload(
        self, path: str, model: Path, companions: Companions, recipe: Recipe | None, data: dict[str, str]
    ) -> Any:
        options = (recipe or Recipe()).model_dump_json(exclude_none=True)
        paths: dict[str, Any] = {"model": model, **companions}
        if paths.get("model_data") is None:
            paths["model_data"] = data_beside(model)
        with ExitStack() as stack:
            files = {name: stack.enter_context(file.open("rb")) for name, file in paths.items() if file is not None}
            return self._ask("POST", path, files=files, data={"options": options, **data})

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        try:
            return self._raw(method, path, **content).json()
        except ValueError as error:
            raise Unreachable(f"what answers at {self.url} is no isslim service") from error

    def _raw(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(f"no service answers at {self.url}: {error}; is it running? (isslim serve)") from error
        if response.is_success:
            return response
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {}
        raise ProblemError(
            response.status_code, body.get("type", "http"), body.get("detail", response.text), body.get("errors", [])
        )


def _part(name: str) -> str:
    """A name as one part of a path: a `?` or `#` in it would else cut it short, and mean another model.

    Raises:
        ProblemError: when it holds a slash, as no name does; a service may take it for two parts however it is written.
    """
    if "/" in name:
        raise ProblemError(404, "not-found", f"there is nothing of the name '{name}': names hold no slash", [])
    return quote(name, safe="")
