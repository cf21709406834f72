"""A file of the package imports only from rows above it, and `import jaxconv` brings in no framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "jaxconv"

# Each file's row, and its place within the row: a file may import from a lower row, and within its own row from a
# lower place. Files of one place know nothing of each other.
ROWS = {
    "_spec/": (0, 0),
    "_arrays.py": (1, 0),
    "_native/": (1, 0),
    "_lowering/": (2, 0),
    "_trilinear.py": (3, 0),
    "_moments.py": (3, 0),
    "_normalised.py": (3, 1),  # made of the moments
    "_maxima.py": (3, 0),
    "_ops/": (4, 0),
    "functional.py": (4, 1),  # re-exports them
    "init.py": (5, 0),
    "_layers/": (5, 1),  # take their initial distributions from there
    "nnx/": (6, 0),
    "linen/": (6, 0),
    "interop/": (7, 0),
    "_explain/": (7, 0),
    "spatial.py": (7, 0),
    "_fuse/": (8, 0),
    "__main__.py": (8, 0),
}
# The front page: what users import from, and nothing in the package does.
FRONT = "__init__.py"
FRONT_MAY_IMPORT = {"jaxconv.functional", "jaxconv._explain", "jaxconv._fuse"}
# Libraries that a row above these may not know.
FIRST_ROW_OF = {"jax": 1, "flax": 6}


def place(file: str) -> tuple[int, int] | None:
    """The row and place of a file, by its name or its folder's."""
    return ROWS.get(file) or ROWS.get(file.split("/")[0] + "/")


def imports(source: str, file: str) -> set[str]:
    """The modules that a file imports anywhere in it, by their full names; of a package, what is taken from it."""
    package = ["jaxconv", *Path(file).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from jaxconv import _spec` takes a module, `from jaxconv._spec import ConvSpec` a name of one.
            inner = {f"{module}.{alias.name}" for alias in node.names if file_of(f"{module}.{alias.name}")}
            found |= inner or {module}
    return found


def file_of(module: str) -> str | None:
    """The file of a module of the package, relative to it; None of any other."""
    top, *parts = module.split(".")
    if top != "jaxconv":
        return None
    path = PACKAGE.joinpath(*parts)
    if path.is_dir():
        return str((path / "__init__.py").relative_to(PACKAGE))
    return str(path.with_suffix(".py").relative_to(PACKAGE)) if path.with_suffix(".py").is_file() else None


def violations(file: str, source: str) -> list[str]:
    """What is wrong with the imports of a file, in words."""
    wrong = []
    for module in sorted(imports(source, file)):
        library = module.split(".")[0]
        target = file_of(module)
        if library == "torch":
            wrong.append(f"{file} imports torch")
        elif file == FRONT:
            if target and module not in FRONT_MAY_IMPORT:
                wrong.append(f"{file} imports {module}")
        elif library in FIRST_ROW_OF and place(file)[0] < FIRST_ROW_OF[library]:
            wrong.append(f"{file} imports {library}")
        elif target == FRONT:
            wrong.append(f"{file} imports the front page")
        elif target and target.split("/")[0] != file.split("/")[0] and not place(target) < place(file):
            wrong.append(f"{file} imports {module}, which is not above it")
        elif target and "/" in file and target == f"{file.split('/')[0]}/__init__.py":
            wrong.append(f"{file} imports the front page of its own folder")
    return wrong


FILES = sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py"))


def test_the_package_is_where_it_is_looked_for():
    assert {"__init__.py", "_spec/convolution.py", "_lowering/xla.py", "functional.py"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_from_rows_above_it(file):
    assert file == FRONT or place(file), f"{file} has no row: give it one here and in the design"
    assert violations(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("_spec/shapes.py", "import jax"),
        ("_spec/shapes.py", "import jax.numpy as jnp"),
        ("_spec/shapes.py", "def f():\n    from jax import lax"),
        ("_spec/shapes.py", "from jaxconv._arrays import wide"),
        ("_arrays.py", "from jaxconv import _native"),
        ("_lowering/xla.py", "from jaxconv import functional"),
        ("_lowering/xla.py", "from .. import functional"),
        ("_lowering/xla.py", "from ..functional import conv2d"),
        ("_lowering/xla.py", "from jaxconv import _lowering"),
        ("_native/__init__.py", "from jaxconv._lowering import native"),
        ("_ops/patches.py", "from jaxconv.functional import conv2d"),
        ("_ops/patches.py", "from .. import functional"),
        ("_ops/patches.py", "import jaxconv._ops"),
        ("init.py", "from jaxconv import _layers"),
        ("nnx/pooling.py", "from jaxconv import linen"),
        ("linen/pooling.py", "import jaxconv.nnx as ours"),
        ("functional.py", "import flax"),
        ("functional.py", "import jaxconv"),
        ("functional.py", "from jaxconv import conv2d"),
        ("nnx/pooling.py", "import torch.nn"),
        ("__init__.py", "from jaxconv import nnx"),
        ("__init__.py", "from jaxconv._spec.convolution import ConvSpec"),
    ],
)
def test_a_wrong_import_is_seen(file, source):
    assert len(violations(file, source)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("_arrays.py", "import jax\nfrom jaxconv._spec import shapes"),
        ("_lowering/xla.py", "from jaxconv._lowering import padding\nfrom jaxconv._spec.convolution import ConvSpec"),
        ("_lowering/select.py", "from jaxconv._lowering import xla"),
        ("_lowering/native.py", "from jaxconv import _native"),
        ("functional.py", "from jaxconv._ops.padding import pad as pad\nfrom jaxconv._lowering import xla"),
        ("nnx/pooling.py", "from flax import nnx\nfrom jaxconv._layers import pooling"),
        ("__init__.py", "from jaxconv.functional import conv2d as conv2d"),
    ],
)
def test_a_right_import_is_let_pass(file, source):
    assert violations(file, source) == []


def test_importing_jaxconv_brings_in_no_framework():
    program = "import sys, jaxconv; print(*sorted({'flax', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
