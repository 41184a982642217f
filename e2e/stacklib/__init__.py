"""The modules behind the `e2e/stack` command (Python 3.11+, standard library only)."""
