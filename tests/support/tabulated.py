"""Flax's table of a model, without what it leaves behind."""

from flax import nnx


def tabulate(model, x):
    """`nnx.tabulate` as plain text.

    Flax leaves inherited methods in the classes of the model, `nnx.Sequential` among them, and a later `nnx.capture`
    would wrap these: `sow`, too, by which it captures.
    """
    classes = {type(module) for _, module in nnx.iter_modules(model)}
    own = {cls: set(vars(cls)) for cls in classes}
    text = nnx.tabulate(model, x, console_kwargs={"width": 200, "force_terminal": False})
    for cls, names in own.items():
        for name in set(vars(cls)) - names:
            delattr(cls, name)
    return text
