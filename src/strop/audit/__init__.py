"""Stress tests: of graders, and of models that write code."""
