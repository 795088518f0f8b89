"""Where texts stand, in the hands of the sender: signed, bounded, for a time.

The service keeps nothing between two requests: what it needs to go on with a text is in the answer,
and comes back with the next request, to this process or to another with the same key. It is not
encrypted: who holds it may read the numbers.

Format: `1.<body>.<signature>`, both in base64url without padding; the body is a line of JSON and
behind it the states, float32, little endian. The signature is HMAC-SHA256 of the body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from isslim.runtime.language.generation import Position, TokenStream
from isslim.runtime.language.session import State
from isslim.service.problems import RequestError
from isslim.types.manifest import VariantName

VERSION = "1"
MAX_BYTES = 1 << 20
"""Of a body: a hundred times what a model of two layers of 650 units takes."""
MAX_CHARACTERS = MAX_BYTES * 4 // 3 + 100


@dataclass(frozen=True)
class KeptText:
    """Where one variant's text stands.

    Attributes:
        position: behind its last token.
        seed: of its random numbers.
        drawn: how many tokens were drawn with it.
    """

    position: Position
    seed: int
    drawn: int

    @classmethod
    def of(cls, stream: TokenStream) -> KeptText:
        """Where a stream stands."""
        return cls(stream.position, stream.sampler.seed, stream.sampler.drawn)


@dataclass(frozen=True)
class KeptTexts:
    """What a state holds.

    Attributes:
        model: id of the bundle; None: there is no state.
        texts: by the names of the variants.
    """

    model: str | None
    texts: Mapping[VariantName, KeptText]

    def variants(self, model_id: str, asked: Sequence[VariantName]) -> list[VariantName]:
        """The variants that go on: those asked for, or all.

        Args:
            model_id: of the bundle that is to go on.
            asked: names of variants; none: those of the state, if there is one.

        Raises:
            RequestError: (state-mismatch) when the state is of another model, or lacks a variant.
        """
        if self.model is None:
            return list(asked)
        if self.model != model_id:
            raise RequestError(
                "state-mismatch",
                f"the state is of the model {self.model}, and '{model_id}' was asked: name "
                "that one, or send the text anew, without `state`",
            )
        missing = [each for each in asked if each not in self.texts]
        if missing:
            raise RequestError(
                "state-mismatch",
                f"the state holds {', '.join(self.texts)}, not {', '.join(missing)}: leave "
                "`variants` out, or send the text anew, without `state`",
            )
        return list(asked or self.texts)


NOTHING = KeptTexts(None, {})


class SignedStates:
    """Makes and checks what senders keep.

    Args:
        key: returns the key of the signatures, which all processes of a service share; called when
            it is needed first.
        seconds: how long a state is good for.
    """

    def __init__(self, key: Callable[[], bytes], seconds: float) -> None:
        self._get_key, self._seconds = key, seconds

    @cached_property
    def _key(self) -> bytes:
        return self._get_key()

    def sign(self, model_id: str, texts: Mapping[VariantName, KeptText]) -> str:
        """What the sender keeps.

        Args:
            model_id: of the bundle.
            texts: by the names of the variants.

        Raises:
            RequestError: (too-large) when the states take too much memory.
        """
        head = {
            "model": model_id,
            "until": time.time() + self._seconds,
            "texts": {variant: _head(text) for variant, text in texts.items()},
        }
        states = [array for text in texts.values() for array in text.position.state.values()]
        body = b"\n".join(
            (json.dumps(head).encode(), b"".join(each.astype("<f4").tobytes() for each in states))
        )
        if len(body) > MAX_BYTES:
            raise RequestError(
                "too-large", f"the states take {len(body):,} bytes; at most {MAX_BYTES:,}"
            )
        return f"{VERSION}.{_text(body)}.{_text(self._signature(body))}"

    def open(self, signed: str | None) -> KeptTexts:
        """What a state holds, as the sender kept it; nothing where there is none.

        Raises:
            RequestError: (state-refused) when this service did not make it, or it was changed;
                (state-expired) when its time is over.
        """
        if signed is None:
            return NOTHING
        head, states = self._checked(signed)
        if time.time() > head["until"]:
            raise RequestError(
                "state-expired",
                f"it was good for {self._seconds:g} s, which is what ISS_STATE_SECONDS allows; "
                "send the text anew, without `state`",
            )
        found, first = dict[VariantName, KeptText](), 0
        for variant, text in head["texts"].items():
            state: State = {}
            for name, width in text["states"].items():
                state[name] = states[first : first + width].reshape(1, 1, width)
                first += width
            position = Position(state, text["last"], tuple(text["context"]))
            found[variant] = KeptText(position, text["seed"], text["drawn"])
        return KeptTexts(head["model"], found)

    def _checked(self, signed: str) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.float32]]]:
        refused = RequestError(
            "state-refused",
            "the state was not made by this service, or was changed since: send back what an "
            "answer held as `state`, as it is",
        )
        version, _, rest = signed.partition(".")
        try:
            body, signature = (_bytes(part) for part in rest.split("."))
        except ValueError:
            raise refused from None
        if version != VERSION or not hmac.compare_digest(signature, self._signature(body)):
            raise refused
        head, _, states = body.partition(b"\n")
        return json.loads(head), np.frombuffer(states, "<f4")

    def _signature(self, body: bytes) -> bytes:
        return hmac.digest(self._key, VERSION.encode() + body, hashlib.sha256)


def _head(text: KeptText) -> dict[str, Any]:
    return {
        "last": text.position.last,
        "context": text.position.context,
        "seed": text.seed,
        "drawn": text.drawn,
        "states": {name: array.shape[-1] for name, array in text.position.state.items()},
    }


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError for anything but the one way to write these bytes."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text[:20]) from error
    if _text(content) != text:
        raise ValueError(text[:20])
    return content
