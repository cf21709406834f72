"""Networks in PyTorch with the names they are published with: a file for each port in `examples/ports/`."""

import torch

# Neighbours' processes share the cores, and what waits for a thread spins.
torch.set_num_threads(1)
