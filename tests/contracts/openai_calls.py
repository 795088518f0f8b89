"""Run by the environment of the clients: what the `openai` package gets of a service, as JSON.

`python openai_calls.py URL TEXT`
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import openai

URL, TEXT = sys.argv[1:]
VARIANTS = ("original", "original-int8", "compressed", "compressed-int8")


def scores(client: openai.OpenAI) -> dict[str, Any]:
    """Log-probabilities of a text by every variant."""
    found = {}
    for variant in VARIANTS:
        answer = client.completions.create(
            model=f"tiny:{variant}", prompt=TEXT, echo=True, logprobs=2, max_tokens=0
        )
        found[variant] = answer.choices[0].logprobs.token_logprobs
    return found


def texts(client: openai.OpenAI) -> dict[str, Any]:
    """A text whole, and in pieces."""
    asked: dict[str, Any] = {"model": "tiny", "prompt": TEXT, "max_tokens": 30, "seed": 5}
    whole = client.completions.create(**asked)
    parts = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    return {
        "whole": whole.choices[0].text,
        "pieces": [choice.text for part in parts for choice in part.choices],
        "usage": [whole.usage.model_dump(), parts[-1].usage.model_dump()],
        "models": [each.id for each in client.models.list()],
        "one": client.models.retrieve("tiny:original").id,
    }


def refusals(client: openai.OpenAI) -> dict[str, Any]:
    """Which exceptions the client raises."""
    found = {}
    for name, asked in (
        ("model", {"model": "nope", "prompt": "the"}),
        ("ids", {"model": "tiny", "prompt": [10**6]}),
        ("stops", {"model": "tiny", "prompt": "the", "stop": ["x"] * 17}),
    ):
        try:
            client.completions.create(**asked)
        except openai.APIStatusError as error:
            found[name] = [type(error).__name__, error.code, error.param]
    return found


async def streams() -> int:
    """Forty at once, of which twenty are left early; how many of the others are whole."""
    async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", timeout=120) as client:

        async def follow(number: int) -> bool:
            length = 100_000 if number % 2 else 200
            stream = await client.completions.create(
                model="tiny:original", prompt="the", max_tokens=length, stream=True
            )
            seen = 0
            async for part in stream:
                seen += part.choices[0].finish_reason is None
                if number % 2 and seen == 5:
                    await stream.close()
                    return False
            return seen == length

        return sum(await asyncio.gather(*map(follow, range(40))))


def main() -> None:
    """Asks everything, and prints it."""
    with openai.OpenAI(base_url=f"{URL}/v1", api_key="none") as client:
        found = {"scores": scores(client), "texts": texts(client), "refusals": refusals(client)}
    found["whole_streams"] = asyncio.run(streams())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
