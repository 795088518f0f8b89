"""Names of nodes: what is made is read again, and the values in files that exist do not change."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import NodeProto

from isslim.compress.export.node_roles import NodeRole
from isslim.compress.kinds.language.export import export
from tests.compress.export.test_quantize import network


@pytest.mark.parametrize(
    "role", [each for each in NodeRole if each not in {NodeRole.HIGHWAY, NodeRole.OTHER}]
)
@pytest.mark.parametrize("suffix", ["", "steps", "question_characters"])
def test_a_name_is_read_as_the_role_that_it_was_made_for(role: NodeRole, suffix: str) -> None:
    assert NodeRole.of(NodeProto(name=role.node_name(suffix))) is role


def test_a_highway_layer_is_recognised_behind_its_side() -> None:
    name = NodeRole.HIGHWAY.node_name("1", prefix="question")
    assert name == "question_highway_layer_1"
    assert NodeRole.of(NodeProto(name=name)) is NodeRole.HIGHWAY
    assert NodeRole.of(NodeProto(name=NodeRole.FLOAT32.node_name("highway"))) is NodeRole.FLOAT32


@pytest.mark.parametrize("name", ["", "MatMul_3", "the_decoder", "of_joined"])
def test_other_names_have_no_role(name: str) -> None:
    assert NodeRole.of(NodeProto(name=name)) is NodeRole.OTHER


def test_names_in_files_that_were_written_once_are_still_read(tmp_path: Path) -> None:
    assert {role.name: role.value for role in NodeRole} == {
        "FLOAT32": "float32",
        "FLATTENING": "flattening",
        "BOTTLENECK": "bottleneck",
        "DECODER": "decoder",
        "RECURRENT": "recurrent",
        "HIGHWAY": "highway_layer",
        "OTHER": "",
    }
    export(network(), tmp_path / "a.onnx")
    named = {node.name: node for node in onnx.load(tmp_path / "a.onnx").graph.node}
    roles = {name: NodeRole.of(node) for name, node in named.items() if NodeRole.of(node).value}
    assert roles == {
        "bottleneck": NodeRole.BOTTLENECK,
        "decoder": NodeRole.DECODER,
        "flattening_features": NodeRole.FLATTENING,
        "flattening_steps": NodeRole.FLATTENING,
        "flattening_shape": NodeRole.FLATTENING,
        "flattening_logits": NodeRole.FLATTENING,
    }
