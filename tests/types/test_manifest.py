"""What a recipe refuses before a job is made of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from isslim.types.recipe import Recipe


@pytest.mark.parametrize("seed", [-1, 2**63, 1e23])
def test_seed_that_no_generator_takes_is_refused(seed: float) -> None:
    with pytest.raises(ValidationError, match="seed"):
        Recipe.model_validate({"seed": seed})


def test_largest_seed_is_taken() -> None:
    assert Recipe(seed=2**63 - 1).seed == 9_223_372_036_854_775_807
