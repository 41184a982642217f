"""Tests of the local stack, run in its virtual environment: `e2e/stack test`."""
