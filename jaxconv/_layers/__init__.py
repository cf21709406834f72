"""Layers without a framework: what their arguments mean, their parameters, their call."""
