"""Where the model and the data of a task come from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isslim.compress.ingest.reading import IngestReport


@dataclass(frozen=True)
class Origin:
    """Where the model and the data of a task come from, one line each.

    Attributes:
        layout: how the upload was read, what was dropped and what was assumed included.
        random: whether the data was generated, so that the model was never run on real data.
        dropped: what the file holds and the model does not use, by name.
        assumed: what the file does not say and was assumed.
        not_evaluated: why quality was not evaluated on data kept apart from calibration; None where
            it was.
        evaluated_outputs: see `Provenance.evaluated_outputs`.
        left_out: data that was not used, and why.
        warnings: further reservations about the evaluation, for the verdict.
    """

    layout: str
    calibration: str
    held_out: str
    random: bool = False
    dropped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    not_evaluated: str | None = None
    evaluated_outputs: Mapping[str, int | None] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, reading: IngestReport, calibration: str, held_out: str, warnings: tuple[str, ...] = ()
    ) -> Origin:
        """The origin of a checkpoint.

        Args:
            reading: how the checkpoint was read.
            calibration: where the calibration data comes from.
            held_out: where the held-out data comes from.
            warnings: reservations about the evaluation.
        """
        return cls(
            reading.line,
            calibration,
            held_out,
            dropped=reading.dropped,
            assumed=reading.assumed,
            warnings=warnings,
        )
