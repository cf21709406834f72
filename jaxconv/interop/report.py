"""What a load did, and the error where something did not fit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """What `load_state_dict` did, or would have done: names are PyTorch's, after `rename`.

    Args:
        loaded: the names that fit.
        missing: names that the module has and the state dict has not.
        unexpected: names that the state dict has and the module has not.
        mismatched: a line for each array of a wrong shape or kind, or that cannot be converted.

    Example:
        >>> from jaxconv.interop import LoadReport
        >>> LoadReport(("weight",), (), ("scale",), ()).ok
        False
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the state dict and the module fit one another entirely."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return f"loaded {len(self.loaded)} arrays" + ("" if self.ok else f"\n{self._problems()}")

    def _problems(self) -> str:
        lines = []
        for heading in ("missing", "unexpected", "mismatched"):
            names = getattr(self, heading)
            lines += [f"{heading} ({len(names)}):", *(f"    {name}" for name in names)] if names else []
        return "\n".join(lines)


def refuse(report: LoadReport, whose: str) -> None:
    """Raises an error that lists all that does not fit, if anything does not."""
    if not report.ok:
        raise ValueError(
            f"the state dict does not fit {whose}, and nothing was loaded\n{report._problems()}\n"
            "rename= maps its names to those of the module; strict=False loads what fits"
        )
