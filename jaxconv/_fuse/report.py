"""What was folded into what, and what was left."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FuseReport:
    """What `jaxconv.fuse` did with each batch norm of a model; names are paths in the model, as PyTorch writes them.

    Args:
        folded: pairs of a norm and the layer that it was folded into.
        left: pairs of a norm that stays and the reason.
    """

    folded: tuple[tuple[str, str], ...]
    left: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"folded {len(self.folded)} of {len(self.folded) + len(self.left)} batch norms"]
        lines += [f"    {norm} into {layer}" for norm, layer in self.folded]
        lines += [f"    {norm} is left: {why}" for norm, why in self.left]
        return "\n".join(lines)
