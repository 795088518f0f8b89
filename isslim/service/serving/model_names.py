"""What the name of a model means: an id, an alias, or the first model that had the name."""

from __future__ import annotations

from collections.abc import Sequence

from isslim.store.aliases import AliasStore
from isslim.store.bundles import BundleStore
from isslim.store.errors import NotFound, Unavailable
from isslim.types.manifest import Manifest
from isslim.types.schemas.aliases import Alias


class ModelNames:
    """Looks names up in the database and the bundle store.

    Args:
        bundles: the models.
        aliases: names that point at them.
    """

    def __init__(self, bundles: BundleStore, aliases: AliasStore) -> None:
        self._bundles, self._store = bundles, aliases
        self._aliases: dict[str, Alias] | None = None

    def alias(self, name: str) -> Alias | None:
        """The alias of a name, as it is, or as it was when the database last answered.

        It comes before models of the name; no alias has the form of an id.
        """
        return self._known_aliases().get(name)

    def model(self, name: str, known: Sequence[tuple[str, Manifest]]) -> str:
        """The id of a model by id or name.

        A model of a name that another one has does not take it over: it remains with the first one.

        Args:
            name: that is no alias.
            known: ids and manifests of all models.

        Raises:
            NotFound: when there is no such model.
            StorageUnavailable: when that cannot be known now.
        """
        if name in dict(known):
            return name  # an id first: another model may bear it as its name
        if (first := _firsts(known).get(name)) is not None:
            return first
        if self._bundles.exists(name):
            return name  # its manifest cannot be read: it can be deleted, and opening it says why
        self._bundles.check_listed()
        aliases: dict[str, list[str]] = {}
        for alias, each in self._known_aliases().items():
            aliases.setdefault(each.model, []).append(alias)
        raise NotFound(
            "model",
            name,
            [_named(manifest, model_id, aliases.get(model_id, ())) for model_id, manifest in known],
        )

    def spoken(self) -> dict[str, str]:
        """What each model is called, by id: its name if that means it, or else its id."""
        known = self._bundles.manifests()
        aliases = {name: each.model for name, each in self._known_aliases().items()}
        means = _firsts(known) | aliases
        return {
            each: manifest.name if means[manifest.name] == each else each
            for each, manifest in known
        }

    def _known_aliases(self) -> dict[str, Alias]:
        try:
            self._aliases = {each.alias: each for each in self._store.all()}
        except Unavailable:
            if self._aliases is None:
                raise
        return self._aliases


def _firsts(known: Sequence[tuple[str, Manifest]]) -> dict[str, str]:
    """The id of the first model of every name."""
    newest_first = sorted(known, key=lambda each: (each[1].created_at, each[0]), reverse=True)
    return {manifest.name: bundle_id for bundle_id, manifest in newest_first}


def _named(manifest: Manifest, model_id: str, aliases: Sequence[str]) -> str:
    """A model's name, id and aliases, such as `mine (e4dff733c4d90e78; alias next, prod)`."""
    named = f"; alias {', '.join(aliases)}" if aliases else ""
    return f"{manifest.name} ({model_id}{named})"
