"""Metrics as a scrape reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Printed:
    """The samples of one answer of `/metrics`.

    Args:
        text: the answer.
    """

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.types = {each.name: each.type for each in families}
        self.samples = [sample for each in families for sample in each.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of all samples of a name with these labels among theirs."""
        return [
            each.value
            for each in self.samples
            if each.name == name and labels.items() <= each.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The value of the only such sample."""
        (found,) = self.values(name, **labels)
        return found
