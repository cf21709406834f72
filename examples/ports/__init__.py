"""Networks written line for line as in PyTorch, which load PyTorch's weights."""
