"""Models on the Hugging Face Hub, by a stub of it, and in MLflow, by its own SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from mlflow import MlflowClient

from isslim.client.hub import SharingFailed, chosen, fetched, push_folder, repository_of
from isslim.client.tracking import BUNDLE, log_model, metrics_of, parameters_of
from isslim.store.bundles import BundleStore
from isslim.types.schemas.figures import manifest_view
from tests.conftest import Published
from tests.hub_stub import HubStub, hub_stub


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    with hub_stub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield made


@pytest.fixture(scope="module")
def bundle(published: Published) -> Path:
    return published.settings.home / "artifacts" / "bundles" / published.bundle_id


def test_bundle_is_pushed_whole_and_its_card_is_read_by_the_hubs_own_code(
    stub: HubStub, bundle: Path
) -> None:
    address = push_folder(bundle, "me/tiny", private=True)
    assert address.startswith(f"{stub.url}/me/tiny/commit/")
    sent = stub.repositories["me/tiny"]
    there = {str(path.relative_to(bundle)): path for path in bundle.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in there.items()} == sent
    assert stub.private == {"me/tiny"}
    assert stub.tokens == {"Bearer hf_test"}
    data = ModelCard(sent["README.md"].decode()).data
    assert data.library_name == "onnx"
    assert [each.metric_name for each in data.eval_results or []] == [
        "perplexity of original",
        "perplexity of original-int8",
        "perplexity of compressed",
        "perplexity of compressed-int8",
    ]


def test_hub_that_refuses_or_does_not_answer_is_told_in_a_line(
    stub: HubStub, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SharingFailed, match="refuses nobody/tiny: you may not write here"):
        push_folder(bundle, "nobody/tiny")
    with pytest.raises(SharingFailed, match="me/nothing"), fetched("me/nothing"):
        pass
    monkeypatch.setenv("HF_TOKEN", "hf_geheim\u00fc")
    with pytest.raises(SharingFailed, match=r"^HF_TOKEN holds no token: .* not ASCII"):
        push_folder(bundle, "me/tiny")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SharingFailed, match="does not answer"):
        push_folder(bundle, "me/tiny")


def test_model_and_its_companions_come_from_a_repository(stub: HubStub) -> None:
    stub.repositories["me/lm"] = {
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        "config.json": b"{}",
        "README.md": b"not needed",
        "pytorch_model.bin": b"the same weights",
    }
    with fetched("me/lm") as found:
        assert found.model.name == "model.safetensors"
        assert found.model.read_bytes() == b"weights"
        names = {field: path.name for field, path in found.companions.items() if path}
        assert not (found.model.parent / "README.md").exists()
    assert names == {"config": "config.json", "vocabulary": "tokenizer.json"}
    assert not found.model.exists()


def test_repository_without_a_model_or_with_several_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.onnx", "b.onnx", "words.txt")]
    with pytest.raises(SharingFailed, match=r"found: a.onnx, b.onnx"):
        chosen(files, "me/two")
    with pytest.raises(SharingFailed, match="found: none"):
        chosen(files[2:], "me/none")
    two_parts = chosen([tmp_path / "a.onnx", tmp_path / "a.onnx.data"], "me/one")
    assert two_parts.companions == {"model_data": tmp_path / "a.onnx.data"}


@pytest.mark.parametrize("address", ["me/x", "hf://x", "hf://a/b/c", "hf://../x y"])
def test_address_that_names_no_repository_is_refused(address: str) -> None:
    with pytest.raises(SharingFailed, match="expected hf://user/repo"):
        repository_of(address)
    assert repository_of("hf://user/repo.x/") == "user/repo.x"


def test_mlflow_has_recipe_figures_bundle_and_a_registered_version(
    published: Published, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MLflow keeps artifacts of a store without a server
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    manifest = BundleStore(published.settings).open(published.bundle_id).manifest
    view = manifest_view(manifest)
    for _ in range(2):
        logged = log_model(
            view, published.bundle_id, bundle, uri, experiment="isslim", alias="published"
        )
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = client.get_run(logged.run_id)
    assert run.data.params == parameters_of(manifest)
    assert run.data.metrics == pytest.approx(metrics_of(view))
    for variant in manifest.variants:
        measured = run.data.metrics[f"{variant.name}.perplexity"]
        assert measured == pytest.approx(variant.metrics["perplexity"])
    files = {Path(each.path).name for each in client.list_artifacts(logged.run_id, BUNDLE)}
    assert {"manifest.json", "compressed.onnx", "README.md"} <= files
    version = client.get_model_version_by_alias("tiny", "published")
    assert (str(version.version), version.run_id) == (logged.version, logged.run_id)
    assert logged.version == "2"


def test_mlflow_that_does_not_answer_is_told_in_a_line(
    published: Published, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    manifest = BundleStore(published.settings).open(published.bundle_id).manifest
    view = manifest_view(manifest)
    address = "http://user:geheim@127.0.0.1:1"
    with pytest.raises(SharingFailed, match="did not take the model") as caught:
        log_model(view, "id", bundle, address, experiment="e", alias="a")
    assert "http://***@127.0.0.1:1" in str(caught.value)
    assert "geheim" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "geheim\u00fc")
    with pytest.raises(SharingFailed, match=r"^MLFLOW_TRACKING_TOKEN holds no token"):
        log_model(view, "id", bundle, "http://127.0.0.1:1", experiment="e", alias="a")
