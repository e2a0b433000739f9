"""Strop: the bench where models that write code are run, measured, sharpened and stress-tested on what their code does."""

__version__ = "0.1.0"
