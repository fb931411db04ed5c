"""Define the base of dataclasses whose fields are optional numbers."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class OptionalFields:
    """Limits or periods; those that are None are not set."""

    def as_dict(self) -> dict[str, int]:
        """Return the fields that are set, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
