"""A bundle's manifest with made-up figures: four variants, three runs, and narrow layers."""

from __future__ import annotations

from isslim.types.manifest import LatencyRecord, Manifest, PartRecord, Ratio, VariantRecord
from isslim.types.recipe import Budget, Recipe
from tests.store.manifests import manifest_of

RUNS = ((30, 10), (30, 1), (1, 1))
"""Steps and batch; the second is the primary one."""
OVER = {
    "original": (1.0, 1.0, 1.0),
    "original-int8": (3.0, 2.7, 2.1),
    "compressed": (2.0, 2.0, 2.0),
    "compressed-int8": (6.0, 5.4, 3.9),
}
"""How many times as fast as the original, by run."""
SIZES = {"embedding": 200, "units:lstm0": 256, "units:lstm1": 256}
SMALL = {
    "embedding": 60,
    "units:lstm0": 250,
    "rank:lstm1.input": 70,
    "rank:lstm1.recurrent": 40,
    "units:lstm1": 256,
    "bottleneck": 90,
}


def manifest(*, steady: bool = True, int8: bool = True) -> Manifest:
    """The manifest.

    Args:
        steady: whether latencies are.
        int8: whether there are int8 forms.
    """
    names = [name for name in OVER if int8 or not name.endswith("int8")]
    variants = [_variant(name, steady=steady, int8=int8) for name in names]
    recipe = Recipe(name="made", budget=Budget(perplexity_rise=0.02))
    return manifest_of().model_copy(update={"variants": variants, "recipe": recipe, "name": "made"})


def _variant(name: str, *, steady: bool, int8: bool) -> VariantRecord:
    small = name.startswith("compressed")
    return VariantRecord.model_validate(
        {
            "name": name,
            "file": f"{name}.onnx",
            "precision": "int8" if name.endswith("int8") else "float32",
            "sizes": SMALL if small else SIZES,
            "size_bytes": {"original": 16, "original-int8": 4, "compressed": 8}.get(name, 2)
            * 10**6,
            "parts": _parts(SMALL if small else SIZES),
            "metrics": {"perplexity": 40.76 if small else 40.0},
            "loss": 0.019 if small else 0.0,
            "latency": [
                _latency(index, OVER[name][index], steady=steady, int8=int8)
                for index in range(len(RUNS))
            ],
        }
    )


def _parts(sizes: dict[str, int]) -> list[PartRecord]:
    named = {
        "embedding": "embedding",
        "units:lstm0": "LSTM layer 1",
        "units:lstm1": "LSTM layer 2",
        "bottleneck": "bottleneck",
    }
    parts = [
        PartRecord(
            name=named[axis], axis=axis, width=size, parameters=1000 * size, mult_adds=1000 * size
        )
        for axis, size in sizes.items()
        if axis in named  # other narrow layers count to the layer that they stand before
    ]
    return [*parts, PartRecord(name="softmax", width=8000, parameters=10**6, mult_adds=10**6)]


def _latency(index: int, over: float, *, steady: bool, int8: bool) -> LatencyRecord:
    beside = over / OVER["original-int8"][index]
    steps, batch = RUNS[index]
    return LatencyRecord(
        steps=steps,
        batch=batch,
        threads=1,
        median_ms=6.0 / over,
        p90_ms=7.0 / over,
        speedup=over,
        speedup_low=0.99 * over,
        speedup_high=1.01 * over,
        against_int8=Ratio(median=beside, low=0.98 * beside, high=1.02 * beside) if int8 else None,
        steady=steady,
        primary=index == 1,
    )
