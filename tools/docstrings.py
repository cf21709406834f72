"""An extension of `make docs`: examples in docstrings are shown as programs."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Griffe knows the heading in the plural; ours, which has one example below it, would be a box of prose."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames the heading."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
