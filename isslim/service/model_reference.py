"""`<name or id>[:<variant>]`: how protocols name a model and a variant in one field."""

from __future__ import annotations

from dataclasses import dataclass

from isslim.runtime.errors import UnknownVariant
from isslim.service.problems import RequestError
from isslim.types.manifest import Manifest, VariantName


@dataclass(frozen=True)
class ModelReference:
    """A model, and which of its variants.

    Attributes:
        model: id or name.
        variant: its name; empty: the alias's, or else the last one of the bundle.
    """

    model: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str, variant: str = "") -> ModelReference:
        """Reads `demo` or `demo:original`; the names of models hold no colon.

        Args:
            text: as it was sent.
            variant: that was named besides, if any.

        Raises:
            RequestError: (invalid-request) when two different variants are named.
        """
        model, _, named = text.partition(":")
        if named and variant and named != variant:
            raise RequestError(
                "invalid-request",
                f"the model is '{text}', and its version '{variant}': name one variant",
            )
        return cls(model, named or variant)

    def variant_of(self, manifest: Manifest, of_alias: VariantName | None = None) -> VariantName:
        """The name of the variant that is meant.

        Args:
            manifest: of the model.
            of_alias: the variant of the alias by which the model was asked, if there is one
                (`Ticket.variant`).

        Raises:
            UnknownVariant: when the model has none of that name.
        """
        names = [each.name for each in manifest.variants]
        chosen = self.variant or of_alias or names[-1]
        if chosen not in names:
            raise UnknownVariant(chosen, list(names))
        return chosen
