"""Label what is counted with profile and tenant, if the operator wants that; bounded."""

from collections.abc import Collection, Mapping
from typing import Final

from app.metrics.series import Labels, Rows, add_rows

TENANT: Final = "tenant"
PROFILE: Final = "profile"
OTHER: Final = "other"


class Grouping:
    """Finds the label values of tenant and profile; at most `limit` different ones.

    `by` has `tenant`, or `profile` for both. Counts carry ids. Names replace them when somebody
    reads the metrics, so that counting needs no database. Once the limit is reached, all others
    count as `other`.
    """

    def __init__(self, by: Collection[str] = (), limit: int = 100) -> None:
        # A profile's name is unique only within its tenant.
        self.labels: Labels = (
            (TENANT, PROFILE) if PROFILE in by else (TENANT,) if TENANT in by else ()
        )
        self._has_profile = PROFILE in by
        self._limit = limit
        self._known = set[Labels]()
        self._others: Labels = (OTHER,) * len(self.labels)

    def find(self, tenant_id: str, profile_id: str | None) -> Labels:
        """Return the label values of a profile: none, one or two ids, or `other`."""
        if not self.labels:
            return ()
        labels = (tenant_id, profile_id or "") if self._has_profile else (tenant_id,)
        if labels in self._known:
            return labels
        if len(self._known) >= self._limit:
            return self._others
        self._known.add(labels)
        return labels

    def rename(self, rows: Mapping[Labels, list[float]], names: Mapping[str, str]) -> Rows:
        """Replace the ids at the end of label sets by names; adds up what becomes equal."""
        renamed: Rows = {}
        for labels, row in rows.items():
            end = len(labels) - len(self.labels)
            group = tuple(names.get(value, value) for value in labels[end:])
            add_rows(renamed, {labels[:end] + group: row})
        return renamed
