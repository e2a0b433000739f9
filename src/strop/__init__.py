"""Strop: the bench where models that write code are run, measured, sharpened and stress-tested by what it does."""

__version__ = "0.1.0"
