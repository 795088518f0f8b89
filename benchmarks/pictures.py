"""Grey pictures of random words, as a captcha reader gets them, and of lines of text."""

from __future__ import annotations

import string

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

FAMILIES = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")


def letters_of(seed: int) -> str:
    """The word in the picture of that seed."""
    return _letters(np.random.default_rng(seed))


def word(height: int, seed: int) -> NDArray[np.float32]:
    """Letters and digits, a little turned, in noise.

    Args:
        height: H, in pixels.
        seed: of everything.

    Returns:
        Brightness from 0 to 1 (H, W), W by the word's length.
    """
    generator = np.random.default_rng(seed)
    letters = _letters(generator)
    width = height * len(letters) * 5 // 8
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for place, letter in enumerate(letters):
        figure.text(
            (place + 0.5) / len(letters), 0.5, letter, size=0.45 * height, ha="center", va="center",
            rotation=generator.normal(0, 12), color=generator.uniform(0, 0.5, 3),
            family=str(generator.choice(FAMILIES)),
        )  # fmt: skip
    return _disturbed(_grey(figure), generator)


def line(text: str, height: int, seed: int) -> NDArray[np.float32]:
    """A printed line of text, dark on light, in noise.

    Args:
        text: its characters.
        height: H, in pixels.
        seed: of font, colours and noise.

    Returns:
        Brightness from 0 to 1 (H, W), W by the text's length.
    """
    generator = np.random.default_rng(seed)
    figure = Figure(dpi=100)
    written = figure.text(
        0.5, 0.5, text, size=0.5 * height, ha="center", va="center", parse_math=False,
        color=generator.uniform(0, 0.4, 3), family=str(generator.choice(FAMILIES)),
    )  # fmt: skip
    canvas = FigureCanvasAgg(figure)
    width = written.get_window_extent(canvas.get_renderer()).width + height / 2  # type: ignore[no-untyped-call]
    figure.set_size_inches(width / 100, height / 100)
    return _disturbed(_grey(figure), generator)


def _letters(generator: np.random.Generator) -> str:
    characters = list(string.ascii_letters + string.digits)
    return "".join(generator.choice(characters, int(generator.integers(4, 8))))


def _grey(figure: Figure) -> NDArray[np.float64]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].mean(-1) / 255  # type: ignore[no-untyped-call, no-any-return]


def _disturbed(grey: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float32]:
    return np.asarray(np.clip(grey + generator.normal(0, 0.05, grey.shape), 0, 1), np.float32)
