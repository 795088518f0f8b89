"""What the paper and its follow-ups report on Penn Treebank, to stand beside what is measured here.

Perplexities and sizes of Wen et al. (arXiv 1709.05027), tables 1 and 2; Zaremba et al. (arXiv
1409.2329), medium; Zhang and Ou (arXiv 1803.00184), the best published compression of a
medium-sized model. Multiply-adds are derived from the sizes: LSTM layers (or the RHN's depths) and
softmax, the look-up not counted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        name: what a configuration refers to.
        units: of each recurrent layer.
        test_perplexity: as reported, of a single run.
        mult_adds: per token.
        source: where it stands.
    """

    name: str
    units: tuple[int, ...]
    test_perplexity: float
    mult_adds: int
    source: str


_ISS, _SSE = "arXiv 1709.05027, table 1", "arXiv 1803.00184"

PUBLISHED = (
    Published("baseline", (1500, 1500), 78.57, 51_000_000, _ISS),
    Published("ISS (373, 315)", (373, 315), 78.65, 6_811_396, _ISS),
    Published("ISS (381, 535)", (381, 535), 76.03, 10_176_884, _ISS),
    Published("direct design", (373, 315), 85.66, 6_811_396, _ISS),
    Published("RHN baseline", (830,), 65.4, 23_455_800, "arXiv 1709.05027, table 2"),
    Published("RHN ISS 0.004", (726,), 65.0, 18_855_672, "arXiv 1709.05027, table 2"),
    Published("Zaremba medium", (650, 650), 82.7, 13_260_000, "arXiv 1409.2329, table 1"),
    Published("SSE medium, best of 10", (), 77.4, 4_000_000, _SSE),
)
