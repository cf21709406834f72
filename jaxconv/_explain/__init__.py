"""What a layer does to an input of a given shape, in words and in a picture."""

from jaxconv._explain.registry import explain as explain
