"""A layer drawn: the positions that one output position depends on, and the channels that feed each other.

A layer connects many positions with one, along each axis apart. A convolution reads: one output position depends on
many positions of the padded input. A transposed convolution writes: one input position adds to many positions of the
output, whose ends are cut off. So one drawing serves both, with its sides exchanged.

`scene`, `view`, `layout` and `caption` say what is drawn and where; `figure` and what it is made of draw it. `model` is
a drawing of another kind: how the receptive field of a model grows, and where its layers are under the roofline.
"""

from os import PathLike

from jaxconv._explain.picture.scene import ModelScene, Scene


def save(scene: Scene | ModelScene, path: str | PathLike, description: str) -> None:
    """Draws `scene` into a PNG, whose metadata hold `description` for those who cannot see it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError as error:
        raise ImportError(
            'a picture needs matplotlib, which is not installed: pip install "jaxconv[picture]"'
        ) from error
    # They bring in matplotlib, which `import jaxconv` does not.
    from jaxconv._explain.picture import figure, model

    with style.context("default"):  # the user's own may have other fonts and crop the canvas
        drawn = figure.draw(scene) if isinstance(scene, Scene) else model.draw_model(scene)
        drawn.savefig(path, format="png", metadata={"Title": scene.title, "Description": description})
