"""What a framework's model is traced into: a program, the names of its arrays, and its layers' calls."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxconv._explain.model.program import Program
from jaxconv._explain.model.reader import mark, read_program


@dataclass(frozen=True)
class Layer:
    """A module that was called, or a function among the layers of a `Sequential`.

    Attributes:
        name: its path in the model, as PyTorch writes it.
        kind: the name of its class, or of the function.
        text: what it prints, where it is one of this package's.
    """

    name: str
    kind: str
    text: str | None = None


@dataclass(frozen=True)
class Leaf:
    """An array of the model.

    Attributes:
        name: its path in the model, as PyTorch writes it.
        module: the path of the module that holds it.
        kind: the name of the module's class.
        is_parameter: whether it is trained, and not a statistic, a count or a key.
    """

    name: str
    module: str
    kind: str
    is_parameter: bool


@dataclass
class Trace:
    """A traced model.

    Attributes:
        model: the name of its class.
        program: its program.
        leaves: what each of the program's arrays of the model is.
        layers: what each call of the program calls, by the number of the event.
        modules: the kinds of all modules that can be called, by their names.
    """

    model: str
    program: Program
    leaves: list[Leaf]
    layers: dict[int, Layer]
    modules: Mapping[str, str]


@dataclass
class Recorder:
    """Notes the calls of layers while a model is traced.

    Attributes:
        tracing: a number that no other recorder has.
        layers: what was called, by numbers in the order of the calls.
        alive: the arrays that say where calls begin and end: JAX drops equations whose results nobody holds.
        failed: the layer in which an error was raised, and the error.
    """

    tracing: int = field(default_factory=itertools.count().__next__)
    layers: dict[int, Layer] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    failed: tuple[str, BaseException] | None = None

    def call(self, layer: Layer, function: Callable[..., Any], args: Any, kwargs: Any, is_leaf: Callable) -> Any:
        """`function(*args, **kwargs)`, noted as a call of `layer`."""
        event = len(self.layers)
        self.layers[event] = layer
        args, kwargs = self._marked((args, kwargs), "begin", event, is_leaf)
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            if self.failed is None or self.failed[1] is not error:
                self.failed = (layer.name, error)
            raise
        return self._marked(result, "end", event, is_leaf)

    def _marked(self, tree: Any, place: str, event: int, is_leaf: Callable) -> Any:
        leaves, structure = jax.tree.flatten(tree, is_leaf=is_leaf)
        marked = [mark(a, self.tracing, place, event) if _is_numbers(a) else a for a in leaves]
        of_event = [a for a, before in zip(marked, leaves, strict=True) if a is not before]
        self.alive += of_event or [mark(jax.numpy.zeros(()), self.tracing, place, event)]
        return jax.tree.unflatten(structure, marked)


def _is_numbers(a: Any) -> bool:
    return isinstance(a, jax.Array) and not jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key)


_RECORDER: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def recorder() -> Recorder | None:
    """What notes calls at present, if anything does."""
    return _RECORDER.get()


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Has calls noted, in this thread alone."""
    made = Recorder()
    token = _RECORDER.set(made)
    try:
        yield made
    finally:
        _RECORDER.reset(token)


def trace(
    name: str,
    leaves: Sequence[Leaf],
    arrays: Sequence[Any],
    inputs: Any,
    run: Callable[..., Any],
    modules: Mapping[str, str],
) -> Trace:
    """Traces `run(arrays, inputs)` of the model `name`; nothing is computed.

    Raises:
        TypeError: as the next, where the model raised one.
        ValueError: the model refuses the input: its own error, with the layer's path in front.
    """

    def arrays_of(arrays: Any, inputs: Any) -> list[jax.Array]:
        return [a for a in jax.tree.leaves(run(arrays, inputs)) if isinstance(a, jax.Array)]

    with refusing(name) as noted:
        closed = jax.make_jaxpr(arrays_of)(list(arrays), inputs)
        return Trace(
            name,
            read_program(closed, [leaf.is_parameter for leaf in leaves], noted.tracing),
            list(leaves),
            noted.layers,
            modules,
        )


@contextlib.contextmanager
def refusing(name: str) -> Iterator[Recorder]:
    """Has calls noted; what a model raises is raised again with the layer's path in front, or the model's name."""
    with recording() as noted:
        try:
            yield noted
        except Exception as error:
            path = noted.failed[0] if noted.failed is not None and noted.failed[1] is error else ""
            kind = next((k for k in (TypeError, ValueError) if isinstance(error, k)), None)
            what = f"{type(error).__name__}: " if kind is None else ""
            raise (kind or ValueError)(f"{path or name}: {what}{error}") from error
