"""Every public name is documented, every example runs, and functions of different ranks are alike."""

import doctest
import importlib
import inspect
import re

import pytest

import jaxconv

pytestmark = pytest.mark.usefixtures("quick_compile")

MODULES = (
    "jaxconv", "jaxconv.functional", "jaxconv.init", "jaxconv.nnx", "jaxconv.linen", "jaxconv.interop",
    "jaxconv.spatial",
)  # fmt: skip


def public(module):
    """The public functions and classes of a module: what `__all__` lists, or what has no underscore."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    return {n: getattr(module, n) for n in names if not inspect.ismodule(getattr(module, n))}


NAMES = {f"{m}.{n}": v for m in MODULES for n, v in public(importlib.import_module(m)).items()}
# One object has one docstring, however many modules export it.
OBJECTS = {id(v): name for name, v in reversed(NAMES.items())}
DOCUMENTED = [(name, NAMES[name]) for name in OBJECTS.values()]
IDS = [name for name, _ in DOCUMENTED]


def parameters(thing):
    """The arguments that a caller gives; those that Flax adds to a Linen module are Flax's."""
    # The metaclass of NNX hides the constructor's signature.
    call = thing.__init__ if inspect.isclass(thing) and "nnx" in thing.__module__ else thing
    of_flax = ("self", "parent", "name") if inspect.isclass(thing) else ()
    return [
        p
        for p in inspect.signature(call).parameters.values()
        if p.name not in of_flax and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def own_doc(thing):
    """The docstring of a function or a class, not one that is inherited."""
    return inspect.cleandoc((vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__) or "")


def sections(thing):
    """The headings of a docstring in their order."""
    return re.findall(r"^(Args|Attributes|Returns|Raises|Example):$", own_doc(thing), re.MULTILINE)


def arguments(thing):
    """The names that the section of arguments explains."""
    match = re.search(r"^Args:\n((?:(?: .*)?\n)*)", own_doc(thing) + "\n", re.MULTILINE)
    return re.findall(r"^    (\w+):", match.group(1), re.MULTILINE) if match else []


def referred_to(name, thing):
    """The public things that a docstring names between backticks, and those that theirs name."""
    found, todo = {}, [(name, thing)]
    while todo:
        name, thing = todo.pop()
        module = name.rpartition(".")[0]
        for reference in re.findall(r"`([\w.]+)`", own_doc(thing)):
            for known in {reference, f"{module}.{reference}"} & set(NAMES):
                if known not in found:
                    found[known] = NAMES[known]
                    todo.append((known, NAMES[known]))
    return list(found.values())


# The fields that say whether a layer of Linen is in training.
IN_LINEN = ("use_running_average", "deterministic")
# What a layer of each number of spatial axes takes.
AXES = {"1d": "(N, C, L)", "2d": "(N, C, H, W)", "3d": "(N, C, D, H, W)"}
OF_SHELLS = [(name, thing) for name, thing in DOCUMENTED if name.startswith(("jaxconv.nnx.", "jaxconv.linen."))]
LAYERS = [(name, thing) for name, thing in OF_SHELLS if inspect.isclass(thing)]


def resolves(reference, module):
    """Whether a name between backticks leads somewhere: to a public name of ours, or to one of PyTorch's."""
    if not reference.startswith("torch."):
        return bool({reference, f"{module}.{reference}"} & set(NAMES)) or reference in MODULES
    found = pytest.importorskip("torch")
    for part in reference.split(".")[1:]:
        found = getattr(found, part, None)
    return found is not None


def test_the_public_names_are_found():
    assert {"jaxconv.conv2d", "jaxconv.functional.pad", "jaxconv.nnx.Conv2d", "jaxconv.linen.Conv2d"} <= set(NAMES)
    assert {n.removeprefix("jaxconv.") for n in NAMES if n.count(".") == 1} <= {
        n.removeprefix("jaxconv.functional.") for n in NAMES if n.startswith("jaxconv.functional.")
    } | {"explain", "algorithms", "fuse"}


@pytest.mark.parametrize(("name", "thing"), DOCUMENTED, ids=IDS)
def test_a_public_name_is_documented(name, thing):
    doc = own_doc(thing)
    assert doc, f"{name} has no docstring"
    assert doc.split("\n\n")[0].endswith("."), f"{name}: its docstring does not begin with a sentence of its own"
    # Between quotation marks and in what an example prints braces are meant.
    prose = re.sub(r"^ *(>>>|\.\.\.) .*$|`[^`]*`", "", doc, flags=re.MULTILINE)
    assert not re.search(r"\{\w+\}", prose), f"{name}: a field of the template is left in its docstring"
    known = [thing, *referred_to(name, thing)]
    wanted = ["Args"] * bool(parameters(thing)) + ["Example"]
    wanted += [] if inspect.isclass(thing) else ["Returns"]
    for section in wanted:
        # What one docstring says another may refer to.
        assert any(section in sections(t) for t in known), f"{name} has no section {section}, nor whom it refers to"
    order = ("Args", "Attributes", "Returns", "Raises", "Example")
    assert sections(thing) == [s for s in order if s in sections(thing)]


@pytest.mark.parametrize(("name", "thing"), DOCUMENTED, ids=IDS)
def test_the_arguments_that_are_documented_are_those_of_the_signature(name, thing):
    names = [p.name for p in parameters(thing)]
    if arguments(thing):
        assert arguments(thing) == names
    elif names:
        # What Linen's layers alone have, their module says in prose.
        known = referred_to(name, thing)
        names = {n for n in names if not (n in IN_LINEN and any(f"`{n}`" in own_doc(t) for t in (thing, *known)))}
        assert any(names <= set(arguments(t)) for t in known)


@pytest.mark.parametrize(("name", "thing"), LAYERS, ids=[name for name, _ in LAYERS])
def test_a_layer_says_what_it_stands_for_its_shapes_its_errors_and_how_it_is_called(name, thing):
    module, _, short = name.rpartition(".")
    doc, referred = own_doc(thing), referred_to(name, thing)
    if module == "jaxconv.linen":
        # The shells differ in how a layer is called; the NNX class of the same name documents the rest.
        assert f"`jaxconv.nnx.{short}`" in doc
    else:
        home = "torchvision.ops" if short == "StochasticDepth" else "torch.nn"
        assert f"`{home}.{short}`" in doc
        assert AXES.get(short[-2:], "(N, C") in doc
    assert any("Raises" in sections(t) for t in (thing, *referred))
    of_this_shell = [t for t in (thing, *referred) if t.__module__.startswith(module)]
    assert any("Example" in sections(t) for t in of_this_shell)


@pytest.mark.parametrize(("name", "thing"), OF_SHELLS, ids=[name for name, _ in OF_SHELLS])
def test_a_reference_leads_somewhere(name, thing):
    # Names of classes, and what is given with its module.
    for reference in re.findall(r"`([A-Z]\w+|(?:jaxconv|torch)\.[\w.]+)`", own_doc(thing)):
        assert resolves(reference, name.rpartition(".")[0]), reference


def test_a_reference_that_leads_nowhere_is_seen():
    assert resolves("Conv3d", "jaxconv.nnx")
    assert resolves("jaxconv.max_pool2d", "jaxconv.nnx")
    assert resolves("torch.nn.functional.pad", "jaxconv")
    for wrong in ("Conv4d", "jaxconv.nnx.Conv4d", "jaxconv.convolve", "torch.nn.Conv4d"):
        assert not resolves(wrong, "jaxconv.nnx")


@pytest.mark.parametrize(
    "name", [n for n, v in NAMES.items() if (n.count(".") == 1 or n.startswith("jaxconv.spatial.")) and parameters(v)]
)
def test_a_function_says_what_it_raises(name):
    assert "Raises" in sections(NAMES[name])


@pytest.mark.parametrize(("name", "thing"), DOCUMENTED, ids=IDS)
def test_the_examples_run(name, thing):
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    tests = [t for t in finder.find(thing, name, globs={}) if t.examples]
    # Another's example may serve, as of another rank; where there is a heading there is an example.
    assert tests or "Example" not in sections(thing), f"{name} has no example that can be run"
    report = []
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


# PyTorch has Upsampling*2d and Softmax2d alone.
FUNCTIONS = sorted(
    {re.sub(r"\d", "{}", n) for n in NAMES if re.search(r"(?<!Softmax)\dd", n) and "Upsampling" not in n}
)


@pytest.mark.parametrize("family", FUNCTIONS)
def test_functions_and_layers_of_all_ranks_are_alike(family):
    things = [NAMES.get(family.format(rank)) for rank in (1, 2, 3)]
    assert all(things), f"{family} is there for some ranks only"
    one, two, three = ([p.replace(annotation=None) for p in parameters(thing)] for thing in things)
    # PyTorch's avg_pool1d has no divisor_override.
    if "avg_pool1d" in family.format(1).lower() or "AvgPool1d" in family.format(1):
        two, three = ([p for p in each if p.name != "divisor_override"] for each in (two, three))
    assert one == two == three
    assert [thing.__name__ for thing in things] == [family.split(".")[-1].format(rank) for rank in (1, 2, 3)]


def test_an_addition_to_pytorch_is_keyword_only():
    additions = {"padding_mode", "data_format", "precision", "preferred_element_type", "algorithm", "output_size"}
    for name, thing in NAMES.items():
        if re.fullmatch(r"jaxconv\.conv.*", name):
            of_ours = {p.name for p in parameters(thing) if p.kind is p.KEYWORD_ONLY}
            by_position = {p.name for p in parameters(thing) if p.kind is not p.KEYWORD_ONLY}
            assert of_ours <= additions
            assert not by_position & additions


def test_the_front_page_is_the_module_functional():
    for name, thing in public(jaxconv.functional).items():
        assert getattr(jaxconv, name) is thing
