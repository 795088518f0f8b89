"""What `isslim.compress` returns: the small model with its report, card, graphs and module."""

from __future__ import annotations

import shutil
import weakref
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors.torch import load_file
from torch import nn

from isslim.compress import pipeline
from isslim.compress.errors import ArgumentsRefused, ModuleNotCut
from isslim.compress.library.inputs import Prepared
from isslim.compress.library.words import in_full
from isslim.compress.modules.attributes import size_notes, with_likely
from isslim.compress.modules.resize import resize_module
from isslim.compress.onnx.network import GraphNetwork
from isslim.store.folders import open_folder
from isslim.types.kinds.registry import kind_named
from isslim.types.manifest import CurvePoint, Manifest, VariantRecord
from isslim.types.quality import metric_format_of
from isslim.types.report import Report
from isslim.types.same_form import STATE_DICT
from isslim.types.wording import axis_name, directions_left


class Compressed:
    """A model made small, verified and measured, with the original beside it.

    Its graphs are in a temporary folder, which is removed with this object, or by `close`; `save`
    what is to stay. It can be used as a context manager.

    Args:
        made: by the pipeline.
        prepared: what it was made of.
        temporary: the folder to remove with this object; None: the folder is the caller's.

    Attributes:
        manifest: names, sizes, variants, checks: everything that a bundle's reader relies on.
        report: the trade-off curve and the verdict.
    """

    manifest: Manifest
    report: Report

    def __init__(
        self,
        made: pipeline.Compressed[Any],
        prepared: Prepared,
        temporary: Path | None,
    ) -> None:
        self.manifest, self.report = made.manifest, made.report
        self._task, self._network, self._folder = made.task, made.network, made.folder
        self._own, self._owner = prepared.exported, prepared.owner
        same = self.report.same_form
        own = same is not None and self._owner is not None
        self._own_weights = load_file(made.folder / STATE_DICT) if own else None
        self._card = (made.folder / "README.md").read_text(encoding="utf-8")
        self._closing = (
            None
            if temporary is None
            else weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        )

    @property
    def curve(self) -> list[CurvePoint]:
        """Every size that was tried, from the least removed to the most."""
        return self.report.curve

    @property
    def variants(self) -> dict[str, VariantRecord]:
        """The graphs by name, the original first: sizes, metrics, latency."""
        return {variant.name: variant for variant in self.manifest.variants}

    @cached_property
    def module(self) -> nn.Module:
        """The small network in PyTorch, in evaluation mode, its parameters trainable.

        For a module it is one of the same class. For other weights, and for a language model with
        the option `form="free"`, it is one of this package's, which maps tokens (T, B) and a state
        to logits (T, B, V) and the next state (`zero_state(batch)` is the first).

        Raises:
            ModuleNotCut: when there is only the graph, with the reason.
        """
        with in_full():
            return self._module()

    def _module(self) -> nn.Module:
        if self._own is not None and self._own.small is not None:
            return self._own.small
        if self._own is not None and self._own.refusal is not None:
            raise self._own.refusal
        if self._owner is not None and self._own_weights is not None:
            small = resize_module(self._owner, self._own_weights)
            return with_likely(self._owner, small).eval()
        if isinstance(self._network, GraphNetwork):
            raise ModuleNotCut(
                "a graph that is given as a file or ModelProto has no PyTorch module: use its "
                "graph (`to_onnx(path)`, with ONNX Runtime), or compress the torch.nn.Module that "
                "it was exported from"
            )
        return self._task.module(self._network).eval().requires_grad_(True)

    @property
    def size_notes(self) -> list[str]:
        """Attributes of a module's own code that hold numbers of units: changed ones and others."""
        if self._own is not None and self._own.small is not None:
            return size_notes(self._own.exported.module, self._own.small)
        if self._owner is not None and self._own_weights is not None:
            return size_notes(self._owner, self.module)
        return []

    def card(self) -> str:
        """The model card, Markdown."""
        return self._card

    def save(self, folder: str | PathLike[str]) -> Path:
        """Copies the bundle: graphs, weights, tokenizer, card, manifest with the hashes of all.

        The weights of a module that was made small are `module.safetensors`;
        `isslim.torch.load(folder, model=Tagger(...))` is the module again.

        Args:
            folder: it is created; one that exists must be empty.

        Returns:
            Its path. `isslim.compress` and the service's `/compress` take it again.

        Raises:
            FileExistsError: when the folder holds something.
            NotADirectoryError: when it is a file.
            ValueError: when this object is closed.
        """
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            raise FileExistsError(f"{target} is not empty: nothing was written")
        return Path(shutil.copytree(self._open_folder(), target, dirs_exist_ok=True))

    def to_onnx(self, path: str | PathLike[str], variant: str = "compressed") -> Path:
        """Writes one of the graphs, for ONNX Runtime.

        Args:
            path: of the file to write.
            variant: one of `variants`.

        Returns:
            The path.

        Raises:
            ArgumentsRefused: when there is no such variant, with the reason where it was left out.
            ValueError: when this object is closed.
        """
        known = self.variants
        if variant not in known:
            why = [line for line in self.report.left_out if line.startswith(f"{variant}:")]
            with in_full():
                raise ArgumentsRefused(
                    f"there is no variant '{variant}'; there is: {', '.join(known)}", why
                )
        return Path(shutil.copyfile(self._open_folder() / known[variant].file, Path(path)))

    def summary(self) -> str:
        """What was gained, in a few lines."""
        original, small = self.variants["original"], self.variants["compressed"]
        lines = [
            f"{kind_named(self.manifest.task).title}: {original.parameters:,} -> "
            f"{small.parameters:,} parameters ({small.parameters / original.parameters:.0%})",
            *self._quality(original, small),
            *changes_of(self.manifest),
            *self._of_module(),
            self.report.verdict,
        ]
        return "\n".join(lines)

    def _quality(self, original: VariantRecord, small: VariantRecord) -> list[str]:
        """The line of it; none where nothing was kept apart to evaluate it on."""
        if self.manifest.provenance.not_evaluated is not None:
            return []
        scale, metric = metric_format_of(self.manifest.metric), self.manifest.metric
        values = [scale.value(each.metrics[metric]) for each in (original, small)]
        return [f"{scale.name}: {' -> '.join(values)} ({scale.loss(small.loss)})"]

    def _of_module(self) -> list[str]:
        """Of a module that was exported: its own parameters, and what it or its graph lacks."""
        if self._own is None:
            return []
        lines, whole = list[str](), self._own.exported.module
        if self._own.small is not None:
            before, after = _count(whole), _count(self._own.small)
            line = f"{type(whole).__name__}: {before:,} -> {after:,} parameters"
            if before != self.variants["original"].parameters:
                line += "; a graph also counts buffers, such as BatchNorm's means"
            lines.append(line)
            lines += self.size_notes
        if self._own.refusal is not None:
            lines.append(f"No module, only the graph: {self._own.refusal.detail}")
        sizes = [{name: run[name].shape for name in run} for run in self._own.exported.recorded]
        if all(each == sizes[0] for each in sizes):
            shown = ", ".join(f"{name} {list(shape)}" for name, shape in sizes[0].items())
            lines.append(
                f"The graph takes the one size that all calls have: {shown}. Calls of different "
                "sizes make a dimension free"
            )
        return lines

    def __repr__(self) -> str:
        original, small = self.variants["original"], self.variants["compressed"]
        quality = ", ".join(["", *self._quality(original, small)])
        closed = "" if self._is_open else ", closed"
        if self._own is not None and self._own.refusal is not None:
            closed = f", no module{closed}"
        return (
            f"<isslim.Compressed '{self.manifest.name}': {original.parameters:,} -> "
            f"{small.parameters:,} parameters{quality}{closed}>"
        )

    def close(self) -> None:
        """Removes the temporary folder; report, card and module stay."""
        if self._closing is not None:
            self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _is_open(self) -> bool:
        return self._closing is None or self._closing.alive

    def _open_folder(self) -> Path:
        """The bundle's folder, every file as it was sealed."""
        if not self._is_open:
            raise ValueError("it is closed, and its files are removed: save it before")
        return open_folder(self._folder).folder


def changes_of(manifest: Manifest) -> list[str]:
    """What became of a model, a line each: sizes, narrow layers, training."""
    original, small = manifest.variants[0], manifest.variant("compressed")
    after = {} if small is None else small.sizes
    narrow = directions_left(original.sizes, after).items()
    trained = manifest.provenance.finetune
    return [
        *(
            f"{axis.name}: {axis.original} -> {axis.kept}"
            for axis in manifest.axes
            if axis.kept < axis.original
        ),
        *(
            f"{axis_name(axis)}: through a narrow layer, "
            f"{f'{new} directions' if old is None else f'{old} -> {new} directions'}"
            for axis, (old, new) in narrow
        ),
        *([] if trained is None else [f"trained: {trained}"]),
    ]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
