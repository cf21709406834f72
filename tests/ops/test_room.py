"""Results that this machine cannot hold: refused where they would be computed, and nowhere else."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import _arrays

X, W, T = np.ones((2, 4, 9), "float32"), np.ones((6, 4, 3), "float32"), np.ones((4, 3, 3), "float32")
IMAGE, COLUMNS, MAPS = (np.ones(shape, "float32") for shape in ((1, 2, 7, 5), (1, 8, 1), (1, 2, 3)))
# Of each function whose result may be as large as one likes, some 2**44 bytes.
CALLS = {
    "conv": lambda x=X: jaxconv.conv1d(x, W, padding=2**39),
    "conv, mirrored": lambda x=X: jaxconv.conv1d(x, W, padding=2**39, padding_mode="replicate"),
    "conv by xla": lambda x=X: jaxconv.conv1d(x, W, padding=2**39, algorithm="xla"),
    "conv_transpose": lambda x=X: jaxconv.conv_transpose1d(x, T, stride=2**39),
    "conv_transpose by dilation": lambda x=X: jaxconv.conv_transpose1d(x, T, dilation=2**39),
    "conv_input": lambda y=X[:, :, :1]: jaxconv.conv1d_input((2, 4, 2**38), W[:4], y, stride=2**38),
    "pad": lambda x=IMAGE: jaxconv.pad(x, (2**36, 2**36)),
    "interpolate": lambda x=IMAGE: jaxconv.interpolate(x, (2**22, 2**20)),
    "interpolate of areas": lambda x=IMAGE: jaxconv.interpolate(x, (2**22, 2**20), mode="area"),
    "adaptive_avg_pool": lambda x=IMAGE: jaxconv.adaptive_avg_pool2d(x, 2**21),
    "adaptive_max_pool": lambda x=IMAGE: jaxconv.adaptive_max_pool2d(x, (2**20, 2**21)),
    "max_unpool": lambda x=X: jaxconv.max_unpool1d(x, np.zeros(x.shape, "int32"), 2**37),
    "unfold": lambda x=IMAGE: jaxconv.unfold(x, 1, padding=2**20),
    "fold": lambda x=COLUMNS: jaxconv.fold(x, 2**21, 2, dilation=2**21 - 1),
    "affine_grid": lambda x=MAPS: jaxconv.affine_grid(x, (1, 1, 2**21, 2**20)),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_where_it_would_be_computed(name):
    call = CALLS[name]
    with pytest.raises(ValueError, match=r"than twice the memory of this machine; (use|pad) .* ask jax\.eval_shape"):
        call()
    # As long as nothing is computed, that is what it would have been.
    (x,) = call.__defaults__
    assert np.prod(jax.eval_shape(call, x).shape) * 4 > 2**42
    assert jax.eval_shape(call).shape == jax.eval_shape(call, x).shape  # of an array that is not traced, too


def test_it_is_refused_under_transformations_and_where_it_is_compiled():
    def loss(x, algorithm="auto"):
        return jaxconv.conv_transpose1d(x, T, stride=2**39, algorithm=algorithm).sum()

    refused = partial(pytest.raises, ValueError, match="more than twice the memory of this machine")
    with refused():
        jax.grad(partial(loss, algorithm="xla"))(jnp.asarray(X))
    with refused():
        jax.vmap(partial(loss, algorithm="xla"))(X[None])
    with refused():
        jax.jit(loss)(X)
    # For another machine it may be compiled.
    exported = jax.export.export(jax.jit(partial(jaxconv.conv_transpose1d, stride=2**39)))(X, T)
    assert exported.out_avals[0].shape == (2, 3, 2**42 + 3)


def test_what_fits_is_computed(monkeypatch):
    monkeypatch.setattr(_arrays, "_MEMORY", 4 * 2 * 6 * 7)
    assert jaxconv.conv1d(X, W).shape == (2, 6, 7)
    with pytest.raises(ValueError, match=r"shape \(2, 6, 8\) and take 0 GiB"):
        jaxconv.conv1d(X, W, padding=((0, 1),))


def test_where_the_memory_is_not_known_nothing_is_refused(monkeypatch):
    monkeypatch.delattr("os.sysconf")
    assert _arrays._memory() == np.inf
