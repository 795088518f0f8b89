"""Synthetic speech-like sound: voiced and unvoiced stretches with pauses, in noise.

Formant synthesis at 16 kHz, float32: what models of sound are recorded on where no recordings are
given.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Sound = NDArray[np.float32]

# First three formants (Hz) of vowels, rounded from textbooks of phonetics.
_VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (660, 1720, 2410),
)


@dataclass(frozen=True)
class Spoken:
    """What one speaker says.

    Attributes:
        sound: samples between -1 and 1.
        voice: the same without noise.
        voiced: of every sample, whether it is speech.
    """

    sound: Sound
    voice: Sound
    voiced: NDArray[np.bool_]


def speech(seconds: float, seed: int) -> Spoken:
    """One speaker's utterances with pauses, in noise of a level of its own.

    Args:
        seconds: in all.
        seed: of speaker, words and noise.
    """
    generator = np.random.default_rng(seed)
    pitch, scale = generator.uniform(90, 240), generator.uniform(0.9, 1.2)
    pieces, voiced = list[Sound](), list[NDArray[np.bool_]]()
    while sum(map(len, pieces)) < seconds * RATE:
        for _ in range(int(generator.integers(3, 9))):
            pieces += _syllable(generator, pitch * generator.uniform(0.8, 1.25), scale)
        voiced.append(np.ones(sum(map(len, pieces)) - sum(map(len, voiced)), np.bool_))
        pieces.append(np.zeros(int(RATE * generator.uniform(0.2, 1.2)), np.float32))
        voiced.append(np.zeros(len(pieces[-1]), np.bool_))
    count = int(seconds * RATE)
    whole = np.concatenate(pieces)[:count]
    whole = 0.5 * whole / np.abs(whole).max()
    noise = generator.standard_normal(len(whole)) * 10 ** generator.uniform(-3.0, -1.7)
    sound: Sound = np.clip(whole + noise, -1, 1).astype(np.float32)
    return Spoken(sound, whole, np.concatenate(voiced)[:count])


def recorded(path: Path) -> Spoken:
    """A recording: a mono 16-bit wav file of 16 kHz.

    Nobody says where it is speech: a loud stretch of 30 ms stands in.

    Raises:
        ValueError: when it is of another form.
    """
    with wave.open(str(path), "rb") as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise ValueError(f"{path} is no mono 16-bit wav of {RATE} Hz")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    sound = np.asarray(samples / 32768, np.float32)
    return Spoken(sound, sound, _loud(sound))


def _loud(sound: Sound) -> NDArray[np.bool_]:
    """Of every sample, whether its stretch is at most 35 dB below the loudest one."""
    size = RATE * 30 // 1000
    padded = np.pad(sound, (0, -len(sound) % size)).reshape(-1, size)
    power = np.square(padded, dtype=np.float64).mean(1)
    return np.repeat(power > power.max() * 10**-3.5, size)[: len(sound)]


def _syllable(generator: np.random.Generator, pitch: float, scale: float) -> list[Sound]:
    """A consonant of noise, and a vowel: pulses of the voice through resonators."""
    count = int(RATE * generator.uniform(0.09, 0.28))
    falling = pitch * (1 - 0.15 * np.arange(count) / count + 0.02 * generator.standard_normal())
    phase = np.cumsum(falling / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.01 * generator.standard_normal(count)
    vowel = _resonated(
        pulses, [scale * each for each in _VOWELS[int(generator.integers(len(_VOWELS)))]]
    )
    vowel *= np.hanning(count) ** 0.5 / max(np.abs(vowel).max(), 1e-6)
    count = int(RATE * generator.uniform(0.02, 0.09))
    breath = _resonated(generator.standard_normal(count), [generator.uniform(1500, 5500)])
    breath *= 0.25 * np.hanning(count) / max(np.abs(breath).max(), 1e-6)
    return [breath.astype(np.float32), vowel.astype(np.float32)]


def _resonated(source: NDArray[np.float64], formants: list[float]) -> NDArray[np.float64]:
    """Two-pole filters one after the other, through the spectrum."""
    size = 2 * len(source)
    delays = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    response = np.ones_like(delays)
    for index, formant in enumerate(formants):
        radius = np.exp(-np.pi * (60 + 40 * index) / RATE)
        pole = radius * np.exp(2j * np.pi * formant / RATE)
        response /= (1 - pole * delays) * (1 - np.conj(pole) * delays)
    filtered: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(source, size) * response, size)[
        : len(source)
    ]
    return filtered
