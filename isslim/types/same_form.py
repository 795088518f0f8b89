"""The small model in the form of the original: what changes in the code that builds the model."""

from __future__ import annotations

from pydantic import Field

from isslim.types.recipe import StrictModel

STATE_DICT = "state_dict.safetensors"
"""The file of a bundle that holds the weights under the names of the upload."""
OWN_MODULE = "module.safetensors"
"""The same file of a module that `isslim.compress` exported to a graph."""
NUMBERS = "numbers"
"""In that file's metadata: attributes of the module's own code that hold new numbers of units."""


class ModuleChange(StrictModel):
    """One module of the uploaded model, built with other numbers."""

    name: str = Field(description="its name in the state dict", examples=["rnn"])
    torch_class: str = Field(
        description="the class of torch that has these parameters", examples=["nn.LSTM"]
    )
    before: list[int] = Field(
        description="positional arguments in the uploaded model", examples=[[200, 200, 2]]
    )
    after: list[int] = Field(
        description="positional arguments in the small model", examples=[[25, 187, 2]]
    )
    options: str = Field(
        default="",
        description="further arguments, the same in both; empty: none",
        examples=["bias=False"],
    )

    @property
    def code_before(self) -> str:
        """The call that built it, such as `nn.LSTM(200, 200, 2)`."""
        return self._call(self.before)

    @property
    def code_after(self) -> str:
        """The call that builds the smaller one, such as `nn.LSTM(25, 187, 2)`."""
        return self._call(self.after)

    def _call(self, arguments: list[int]) -> str:
        options = [self.options] if self.options else []
        return f"{self.torch_class}({', '.join([*map(str, arguments), *options])})"


class SameForm(StrictModel):
    """A state dict for the sender's own class with smaller numbers.

    It is that of a language model with the recipe's `form: same`, or of a module that
    `isslim.compress` exported and made small.
    """

    file: str = Field(
        default=STATE_DICT, description="the state dict in the bundle", examples=[STATE_DICT]
    )
    modules: list[ModuleChange] = Field(
        description="the modules of the model, from the input to the output"
    )
    module_class: str = Field(
        default="",
        description="the class of a module that was exported to a graph; empty: a language model's "
        "own, which is not known",
        examples=["Tagger"],
    )
    tied: bool = Field(
        default=False,
        description="embedding and decoder share one matrix, as in the upload",
        examples=[False],
    )
    unchanged: list[str] = Field(
        default=[],
        description="tensors of the upload that the model does not use, copied as they were",
        examples=[["criterion.weight"]],
    )
