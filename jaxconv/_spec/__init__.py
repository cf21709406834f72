"""The meaning of arguments: they are parsed and checked once, where they enter. No arrays, no JAX."""
