"""The modules behind the `e2e/demo` command (Python 3.11+, standard library only)."""
