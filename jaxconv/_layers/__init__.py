"""Layers without a framework, a file a topic; the shells `jaxconv.nnx` and `jaxconv.linen` make modules of them."""
