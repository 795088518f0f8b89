"""Reads an uploaded ONNX graph and its recorded inputs."""

from __future__ import annotations

from isslim.compress.ingest.forms import refuse_foreign
from isslim.compress.kinds.graphs.task import GraphTask
from isslim.compress.kinds.graphs.understanding import graph_file, layers_of, understood
from isslim.compress.kinds.upload import KindReader, Upload
from isslim.compress.onnx.normalise.onnx_reader import is_graph
from isslim.types.kinds.graphs import GRAPHS


class GraphReader(KindReader):
    """Reads ONNX graphs."""

    not_used = frozenset({"config", "vocabulary", "vectors", "characters", "train"})

    def recognises(self, upload: Upload) -> bool:
        """Whether the model's file begins as an ONNX model does."""
        refuse_foreign(upload.files.model, upload.files.name)
        return is_graph(upload.files.model)

    def read(self, upload: Upload) -> GraphTask:
        """Reads the graph and its runs; the final description of the layout needs the runs as well.

        Raises:
            CompressError: when the graph is not understood, or does not run on the inputs.
        """
        files, found = upload.files, upload.found
        found.add(kind=GRAPHS.name)
        recipe = upload.recipe_of(GRAPHS)
        graph = graph_file(files.model, files.model_data)
        known = opset, network = understood(graph.path)
        found.add(
            architecture=network.architecture,
            layout=f"ONNX graph, opset {opset}",
            layers=layers_of(network),
        )
        task = GraphTask(
            graph, recipe, files.calibration, files.held_out, upload.evaluations, known
        )
        found.add(layout=task.origin.layout)
        return task
