"""The bodies of the public functions, a file a topic."""
