"""Measurements: evidence for what `jaxconv/_lowering/select.py` chooses, and against the peers."""
