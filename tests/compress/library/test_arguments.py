"""Arguments of `isslim.compress` that are not understood, in the words of their sender."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import isslim
from isslim.compress.errors import ArgumentsRefused, BudgetNotMet, CompressError
from isslim.compress.library.options import asked_for, refuse_unused
from isslim.compress.library.texts import text_file
from isslim.compress.library.words import in_full
from isslim.types.kinds.language import LANGUAGE
from isslim.types.kinds.registry import kinds
from isslim.types.recipe import Budget, Recipe
from tests.compress.library import models
from tests.tagger import recorded, tagger_graph


class Nested(nn.Module):
    """A module with its layer two levels down."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(4, 8, batch_first=True)})
        self.out = nn.Linear(8, 3)

    def forward(self, series: Tensor) -> Tensor:
        return self.out(self.encoder["lstm"](series)[0])  # type: ignore[no-any-return]


class Answers(Nested):
    def forward(self, series: Tensor) -> Any:
        return {"scores": super().forward(series)}


class Shared(Nested):
    """Its layer's recurrence is also the weight of another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.LSTM(4, 8, batch_first=True)
        self.other.weight_hh_l0 = self.encoder["lstm"].weight_hh_l0


CALLS = [(torch.randn(2, 6, 4),) for _ in range(6)]


def in_training() -> nn.Module:
    module = Nested().eval()
    module.encoder.train()
    return module


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (in_training(), ["Nested.encoder", "training mode", "eval()"]),
        (Nested().eval().to("meta"), ["Nested.encoder.lstm", "meta"]),
        (nn.Sequential(nn.Linear(4, 3)).eval(), ["Sequential", "nn.LSTM"]),
        (Answers().eval(), ["Answers.forward", "scores"]),
        (Shared().eval(), ["Shared.", "weight_hh_l0"]),
        (Nested().eval().double(), ["Nested", "float64"]),
    ],
    ids=["training", "device", "no recurrent layer", "no tensors", "shared", "float64"],
)
def test_module_is_refused_in_its_own_words(module: nn.Module, words: list[str]) -> None:
    with pytest.raises(CompressError) as refused:
        isslim.compress(module, CALLS)
    text = "\n".join([refused.value.detail, *refused.value.issues])
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((3,), {}, "`model` is a int: a torch.nn.Module, a path"),
        (("there/is/none.pt",), {}, "`model`: there is no file there/is/none.pt"),
        ((Nested().eval(),), {}, "Nested is exported by running it: give `data`"),
        ((Nested().eval(), CALLS[0][0]), {}, "`data` is a Tensor of the shape"),
        ((Nested().eval(), Path("none.npz")), {}, "none.npz is no npz of recorded inputs"),
        ((Nested().eval(), "hello"), {}, "a text is given with a Nested: a language model needs"),
        ((Nested().eval(), []), {}, "`data` is empty: a list of calls is expected"),
        ((Nested().eval(), CALLS), {"held_out": []}, "`held_out` is empty: a list of calls"),
        (
            (Nested().eval(), [(CALLS[0][0], torch.zeros(2))]),
            {},
            "`data[0]` holds 2 arguments, and Nested.forward(series) takes 1: leave out what is "
            "not passed to it, such as targets: [(b[0],) for b in data]",
        ),
        ((Nested().eval(), [(CALLS[0][0], None)]), {"vocabulary": ["a"]}, "calls are recorded of"),
        ((Nested().eval(), CALLS), {"folder": 5}, "`folder` is a int: a path is expected"),
        ((Nested().eval(), CALLS), {"folder": __file__}, "`folder`: it cannot be a folder"),
        ((Nested().eval(), CALLS), {"recipe": 5}, "`recipe` is a int: an `isslim.Recipe`"),
        (
            (Nested().eval(), CALLS),
            {"metric": "beauty"},
            "'beauty': for a graph: the metric",
        ),
        ((Nested().eval(), CALLS), {"budget": "5%"}, "`budget` is '5%': a number (the largest"),
        ((Nested().eval(), CALLS), {"budget": {"size": 0.5}}, '`{"limit": "size", "value": 0.5}`'),
        ((Nested().eval(), CALLS), {"budget": {"los": 0.5}}, "(did you mean `loss`?)"),
        (({"a": torch.zeros(2)}, "data/train.txt"), {}, "looks like the path of a file: give"),
        ((Nested().eval(), CALLS), {"config": {}}, "`config` says nothing about a graph or a mod"),
        ((Nested().eval(), CALLS), {"progress": 3}, "`progress` is a int: a function"),
        ((Nested().eval(), CALLS), {"latency": "none"}, "`latency` is 'none': 'primary' or 'all'"),
        (({},), {}, "the mapping holds no weights"),
        (({"a.weight": "text"},), {}, "'a.weight' is a str: an array by its name is expected"),
        (({"a": torch.zeros(2, device="meta")},), {}, "'a' is on the device 'meta'"),
        (({"a": torch.zeros(2)}, [1, 2]), {}, "`data` holds ids: give `vocabulary` as a"),
        (({"a": torch.zeros(2)}, [0.5]), {"vocabulary": ["a"]}, "of float64, shape"),
        (({"a": torch.zeros(2)}, [0, 2]), {"vocabulary": ["aa"]}, "holds the id 2; the vocabul"),
        (({"a": torch.zeros(2)}, [0, -1]), {"vocabulary": ["aa"]}, "holds the id -1; the vocab"),
        (({"a": torch.zeros(2)}, [0]), {"vocabulary": ["a a"]}, "holds the token 'a a', which no"),
        (({"a": torch.zeros(2)}, "README.md"), {}, "is the name of a file: give `Path"),
        (({"a": torch.zeros(2)},), {"vocabulary": 3}, "`vocabulary` is a int: a list of texts"),
        (({"a": torch.zeros(2)},), {"vocabulary": "none.txt"}, "there is no file none.txt"),
        (({"a": torch.zeros(2)},), {"config": {"a": CALLS}}, "`config` cannot be written as JSON"),
    ],
)
def test_argument_is_refused_by_its_name(
    arguments: tuple[Any, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        isslim.compress(*arguments, **options)
    assert words in refused.value.detail


def test_all_wrong_options_are_reported_together() -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        isslim.compress(Nested(), CALLS, seed=-1, budgett=0.1, metric="best", nonsense=1)
    assert len(refused.value.issues) == 4
    text = "\n".join(refused.value.issues)
    assert "there is no option `budgett`; did you mean `budget`?" in text
    assert "there is no option `nonsense`; there is: name, mode" in text
    assert "`seed`: Input should be greater than or equal to 0 (found -1)" in text
    assert "`metric` is 'best': " in text
    # Python prints the text of the error alone.
    assert all(issue in str(refused.value) for issue in refused.value.issues)
    assert refused.value.problem().detail == refused.value.detail


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learner": "l0"}, ["`learner` has no effect on a model of the kind 'ONNX graph'"]),
        ({"start_token": "a", "unit": "word"}, ["`start_token` has no eff", "`unit` has no eff"]),
        ({"recipe": {"calibration_tokens": 500}}, ["`calibration_tokens` has no effect"]),
        ({"decision_axis": 1}, ["ask for `metric` 'argmax' or `metric` 'cosine'"]),
    ],
)
def test_option_without_effect_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        isslim.compress(Nested().eval(), CALLS, **options)
    assert all(each in str(refused.value) for each in words)


def test_recipe_of_another_model_says_only_what_it_changes() -> None:
    whole = Recipe.model_validate(Recipe(metric="argmax").model_dump())
    assert whole.model_fields_set > {"learner", "unit"}
    found = asked_for(whole, None, {"learn_epochs": 6.0})
    assert found.given == {"metric", "learn_epochs"}
    with pytest.raises(ArgumentsRefused, match="`metric` has no effect"):
        refuse_unused(found, LANGUAGE)


def test_option_that_another_one_leaves_without_effect_is_refused_with_what_to_do() -> None:
    learning = asked_for(None, None, {"mode": "learn", "minutes": 3, "metric": None})
    with pytest.raises(ArgumentsRefused) as refused:
        refuse_unused(learning, LANGUAGE)
    assert refused.value.issues == [
        "`minutes` has no effect with `mode` 'learn': leave it out, or ask for `mode` 'calibrate'"
    ]
    refuse_unused(asked_for(None, None, {"minutes": 3}), LANGUAGE)


def test_kinds_name_options_that_exist() -> None:
    for kind in kinds():
        assert kind.unused_options <= Recipe.model_fields.keys()


def test_no_temporary_folder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    with pytest.raises(ArgumentsRefused, match="no temporary folder can be made"):
        isslim.compress(Nested().eval(), CALLS)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, Budget(size_ratio=0.3)),
        (0.02, Budget(loss=0.02)),
        (Budget(speedup=2.0), Budget(speedup=2.0)),
        ({"perplexity_rise": 0.1}, Budget(perplexity_rise=0.1)),
        ({"limit": "size", "value": 0.4}, Budget(size_ratio=0.4)),
    ],
)
def test_budget_is_read_in_every_form(budget: Any, expected: Budget) -> None:
    recipe = Recipe(seed=3, name="mine", budget=Budget(size_ratio=0.3))
    found = asked_for(recipe, budget, {"name": "other", "metric": None})
    assert found.recipe == Recipe(seed=3, name="other", budget=expected)
    assert found.given - {"budget"} == {"name", "seed"}
    same = asked_for({"seed": 3, "name": "mine"}, expected, {"name": "other"})
    assert same.recipe == found.recipe


def test_rule_over_several_options_is_reported() -> None:
    with pytest.raises(ArgumentsRefused, match="start 'scratch' with the mode 'calibrate'"):
        asked_for(None, None, {"start": "scratch"})


def test_budget_that_is_not_met_carries_the_curve(tmp_path: Path) -> None:
    graph = tagger_graph(tmp_path)
    with pytest.raises(BudgetNotMet, match="no model meets the budget") as refused:
        isslim.compress(graph, recorded(12), budget={"limit": "size", "value": 1e-6})
    assert refused.value.curve
    assert refused.value.kind == "budget-not-met"
    assert str(refused.value).endswith("is `curve` of this error")


@pytest.mark.slow
def test_graph_is_given_as_file_or_in_memory_and_runs_in_any_form(tmp_path: Path) -> None:
    graph, runs = tagger_graph(tmp_path), recorded(12)
    size = {"limit": "size", "value": 0.6}
    found = isslim.compress(graph, runs, budget=size)
    with_tensors = [torch.from_numpy(run["ids"]) for run in runs]
    other = isslim.compress(onnx.load(graph), with_tensors, budget=size)
    assert [axis.kept_indices for axis in found.manifest.axes] == [
        axis.kept_indices for axis in other.manifest.axes
    ]
    with pytest.raises(ArgumentsRefused, match=r"`data\[0\]` holds 2 inputs, the graph has"):
        isslim.compress(graph, [(runs[0]["ids"], np.zeros(3))])


@pytest.mark.slow
def test_graph_in_two_files_is_read_whole(tmp_path: Path) -> None:
    model = onnx.load(tagger_graph(tmp_path))
    two = tmp_path / "two"
    two.mkdir()
    onnx.save(
        model, two / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert {path.name for path in two.iterdir()} == {"m.onnx", "m.data"}
    found = isslim.compress(two, recorded(12), budget={"limit": "size", "value": 0.6})
    assert found.variants["compressed"].parameters < found.variants["original"].parameters


def test_folder_without_a_model_or_with_several_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentsRefused, match=r"has to hold one model .* there is: none"):
        isslim.compress(tmp_path)
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.onnx").touch()
    with pytest.raises(ArgumentsRefused, match=r"there is: a\.pt, b\.onnx"):
        isslim.compress(tmp_path)


def test_evaluation_data_of_other_sizes_is_exported_with_the_rest() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = models.trained(models.Crnn(), models.images(10, 1), models.image_loss, 3)
    wide = [(torch.randn(2, 1, 8, 20),) for _ in range(4)]
    calls = [(torch.randn(2, 1, 8, 16),) for _ in range(8)]
    found = isslim.compress(module, calls, held_out=wide, budget={"limit": "size", "value": 0.8})
    with torch.no_grad():
        assert found.module(wide[0][0]).shape == (2, 10, models.TAGS)


def test_text_is_no_name_of_a_file_where_none_can_be_so_long(tmp_path: Path) -> None:
    text = "a b " * 100
    path = text_file(text, tmp_path / "text.txt", "data", None, Recipe())
    assert path.read_text() == text


def test_text_of_an_error_holds_every_issue_and_names_arguments() -> None:
    issues = ["the reason", *(f"issue {number}" for number in range(25))]
    with pytest.raises(CompressError) as refused, in_full():
        raise CompressError("send `calibration`: the reason", issues)
    lines = str(refused.value).splitlines()
    assert lines[:2] == ["send `data`: the reason", "- issue 0"]
    assert lines[-1] == "- and 5 more: see `issues` of this error"
    assert (refused.value.detail, refused.value.issues) == (
        "send `calibration`: the reason",
        issues,
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.ones((12, 2)).astype(object), r"holds float objects: give an array of numbers"),
        (None, r"holds NoneType objects: give an array"),
        ([[1, 2], [3]], r"cannot become an array .*: give one of one shape"),
        (torch.ones(12, 2, dtype=torch.bfloat16), r"cannot become an array .*`tensor.float\(\)`"),
    ],
)
@pytest.mark.parametrize("name", ["ids", "target:scores"])
def test_what_is_no_array_is_named(name: str, value: Any, expected: str, tmp_path: Path) -> None:
    runs = [{**run, name: value} for run in recorded(12)]
    with pytest.raises(ArgumentsRefused, match=rf"`data\[0\]`, {name}, {expected}"):
        isslim.compress(tagger_graph(tmp_path), runs, budget={"limit": "size", "value": 0.8})


def test_no_figure_of_quality_is_shown_where_none_was_taken_apart(tmp_path: Path) -> None:
    run = [{"ids": np.array([[3]])}]
    found = isslim.compress(tagger_graph(tmp_path), run, budget={"limit": "size", "value": 0.8})
    with found:
        assert "No figure of quality is given" in found.summary()
        assert "output change" not in found.summary()
        assert "%" not in repr(found)
