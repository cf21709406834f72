"""The parts of the training program, a file each."""
