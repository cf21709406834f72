"""Writes docs/refusals.md, the catalogue of refusals: `python -m tools.refusals`, after a message has changed.

It is the table that the tests read, tests/support/refusals.py: each call in it is made, and what it raises printed.
"""

import ast
import html
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/refusals.md"
TABLE = ROOT / "tests/support/refusals.py"

HEAD = """\
# Refusals

What the library refuses, how that is provoked, and what it says. A `TypeError` is of an argument of a wrong kind, a
`ValueError` of one that is of the right kind and cannot be. Each message names the argument, what was given, and what
would work; the tests make every one of these calls and read it.

The calls are made of these arrays and functions:

```text
{setting}
```
"""


def page() -> str:
    """The text of the page."""
    sys.path.insert(0, str(TABLE.parent))
    from refusals import REFUSALS  # type: ignore[import-not-found]

    source = TABLE.read_text(encoding="utf-8")
    lines, tree = source.splitlines(), ast.parse(source)
    table = next(node.value for node in tree.body if _name(node) == "REFUSALS")
    assert isinstance(table, ast.Dict)
    first = next(node.lineno for node in tree.body if _name(node) == "X1")
    setting = "\n".join(lines[first - 1 : table.lineno - 2])
    text = [HEAD.format(setting=re.sub(r"\n\n\n+", "\n\n", setting.partition("\n# What is called")[0].strip()))]
    last = table.lineno
    for key, value in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert isinstance(value, ast.Tuple)
        for line in lines[last : key.lineno - 1]:
            if heading := re.fullmatch(r"    # (.+)\.", line):
                text.append(f"\n## {heading[1]}\n")
        last = value.end_lineno or last
        call, error, _ = REFUSALS[key.value]
        made = value.elts[0].body if isinstance(value.elts[0], ast.Lambda) else value.elts[0]
        text.append(f"- `{ast.unparse(made)}`<br>\n  {error.__name__}: {_escaped(_message(call, error))}")
    return "\n".join(text) + "\n"


def _name(node: ast.stmt) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    if isinstance(target, ast.Tuple):
        target = target.elts[0]
    return target.id if isinstance(target, ast.Name) else None


def _message(call, error: type[Exception]) -> str:
    try:
        call()
    except error as raised:
        return str(raised)
    raise AssertionError("nothing was refused")


def _escaped(message: str) -> str:
    """The message with nothing in it that Markdown or HTML takes for its own."""
    return re.sub(r"([\\`*\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", html.escape(message, quote=False))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
