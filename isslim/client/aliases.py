"""The client's requests about aliases."""

from __future__ import annotations

from pydantic import TypeAdapter

from isslim.client.transport import Transport, part
from isslim.types.schemas.aliases import Alias, AliasDetail, AliasRequest
from isslim.types.schemas.trials import TrialReport

_ALIASES = TypeAdapter(list[Alias])


class AliasesClient(Transport):
    """Moves the names that point at models."""

    def aliases(self) -> list[Alias]:
        """All aliases by name."""
        return _ALIASES.validate_python(self._ask("GET", "/aliases"))

    def alias(self, alias: str) -> AliasDetail:
        """What an alias points at, with its history."""
        return AliasDetail.model_validate(self._ask("GET", f"/aliases/{part(alias)}"))

    def trials(self, alias: str) -> TrialReport:
        """What an alias's shadow or canary has shown since the alias was last changed."""
        return TrialReport.model_validate(self._ask("GET", f"/aliases/{part(alias)}/shadow"))

    def put_alias(self, alias: str, request: AliasRequest) -> Alias:
        """Makes an alias, or moves it.

        Args:
            alias: its name.
            request: what it is to point at.

        Raises:
            ProblemError: when there is no such model, or the service refuses it.
        """
        body = request.model_dump(mode="json", exclude_none=True)
        return Alias.model_validate(self._ask("PUT", f"/aliases/{part(alias)}", json=body))

    def roll_back(self, alias: str, note: str = "") -> Alias:
        """Ends an alias's canary where there is one; otherwise undoes its last promotion.

        Args:
            alias: its name.
            note: for the audit trail.

        Raises:
            ProblemError: when there is nothing to go back to.
        """
        path = f"/aliases/{part(alias)}/rollback"
        return Alias.model_validate(self._ask("POST", path, params={"note": note}))

    def delete_alias(self, alias: str, note: str = "") -> None:
        """Deletes an alias, and no model.

        Args:
            alias: its name.
            note: for the audit trail.
        """
        self._raw("DELETE", f"/aliases/{part(alias)}", params={"note": note})
