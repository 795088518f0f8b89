"""`kept.json`: the units that are left of each recurrent node, by which a twin can be cut."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from isslim.compress.kinds.graphs.kept_units import KEPT, KeptUnits
from isslim.compress.onnx.model.split_model import nodes
from isslim.runtime.graphs.recorded_inputs import write_runs
from isslim.store.bundles import BundleStore
from isslim.store.folders import OpenBundle
from isslim.store.settings import StoreSettings
from isslim.types.recipe import Budget, Recipe
from tests.tagger import compress, recorded, tagger_graph


@pytest.fixture(
    scope="module", params=["both ways", pytest.param("one way", marks=pytest.mark.slow)]
)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenBundle:
    home = tmp_path_factory.mktemp("graph")
    graph, samples = tagger_graph(home, both=request.param == "both ways"), home / "recorded.npz"
    write_runs(samples, recorded(20))
    recipe = Recipe(name="tagger", budget=Budget(size_ratio=0.8))
    bundle_id = compress(home, graph, recipe, calibration=samples)
    found = BundleStore(StoreSettings(home=home)).open(bundle_id)
    assert found.path("original.onnx").read_bytes() == graph.read_bytes()  # as it was sent
    return found


def test_kept_units_are_those_of_the_manifest_and_of_the_graph(bundle: OpenBundle) -> None:
    kept = KeptUnits.model_validate_json(bundle.path(KEPT).read_bytes())
    axes = {axis.name: axis for axis in bundle.manifest.axes}
    small, whole = (onnx.load(bundle.path(f"{name}.onnx")) for name in ("compressed", "original"))
    by_name = {node.name: node for node in nodes(small.graph)}
    values = {each.name: numpy_helper.to_array(each) for each in small.graph.initializer}
    original = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    recurrent = [node for node in nodes(small.graph) if node.op_type in ("LSTM", "GRU", "RNN")]
    assert [each.node for each in kept.nodes] == [node.name for node in recurrent]
    removed = compared = 0
    for each in kept.nodes:
        node = by_name[each.node]
        assert node.op_type == each.operator
        assert [each.weights[key] for key in ("W", "R", "B")] == list(node.input[1:4])
        most = max(len(direction.kept) for direction in each.directions)
        assert values[each.weights["R"]].shape == (len(each.directions), 4 * most, most)
        for index, direction in enumerate(each.directions):
            assert axes[direction.axis].kept_indices == direction.kept
            assert axes[direction.axis].original == direction.units
            removed += direction.units - len(direction.kept)
            # The rows of the first layer's kept units are those of the original: cut, not changed.
            left = np.array(direction.kept)
            rows = np.concatenate([gate * direction.units + left for gate in range(4)])
            ours = np.concatenate([gate * most + np.arange(len(left)) for gate in range(4)])
            first = original.get(each.weights["W"])
            if each is kept.nodes[0] and first is not None:
                found = values[each.weights["W"]][index][ours]
                np.testing.assert_allclose(found, first[index][rows], atol=1e-6)
                compared += 1
    assert removed > 0
    assert compared > 0
    # The kept columns of the embedding are those of the original too.
    (embedding,) = kept.channels
    assert axes[embedding.axis].kept_indices == embedding.kept
    assert axes[embedding.axis].original == embedding.channels == 12
    (name,) = embedding.operators
    table = by_name[name].input[0]
    np.testing.assert_array_equal(values[table], original[table][:, embedding.kept])


def test_graphs_say_what_they_are_of_and_all_their_nodes_have_names(bundle: OpenBundle) -> None:
    manifest = bundle.manifest
    for variant in manifest.variants:
        graph = onnx.load(bundle.path(variant.file))
        if variant.name == "original":
            continue
        names = [node.name for node in nodes(graph.graph)]
        assert all(names)
        assert len(set(names)) == len(names)
        assert graph.producer_name == "isslim"
        about = {each.key: each.value for each in graph.metadata_props}
        assert (
            about
            | {
                "task": "graph",
                "variant": variant.name,
                "model": "tagger",
                "upload_sha256": manifest.provenance.upload_sha256,
            }
            == about
        )
        assert f"'tagger', {variant.name}: {variant.parameters:,} parameters" in graph.doc_string
