"""Grey pictures of random words, as a captcha reader gets them."""

from __future__ import annotations

import string

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray


def word(height: int, seed: int) -> NDArray[np.float32]:
    """Letters and digits, a little turned, in noise.

    Args:
        height: H, in pixels.
        seed: of everything.

    Returns:
        Brightness from 0 to 1 (H, W), W by the word's length.
    """
    generator = np.random.default_rng(seed)
    letters = generator.choice(
        list(string.ascii_letters + string.digits), int(generator.integers(4, 8))
    )
    width = height * len(letters) * 5 // 8
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for place, letter in enumerate(letters):
        figure.text(
            (place + 0.5) / len(letters), 0.5, letter, size=0.45 * height, ha="center", va="center",
            rotation=generator.normal(0, 12), color=generator.uniform(0, 0.5, 3),
            family=str(generator.choice(["DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono"])),
        )  # fmt: skip
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    grey = np.asarray(canvas.buffer_rgba())[..., :3].mean(-1) / 255  # type: ignore[no-untyped-call]
    noisy = grey + generator.normal(0, 0.05, grey.shape)
    return np.asarray(np.clip(noisy, 0, 1), np.float32)
