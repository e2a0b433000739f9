"""Stress tests: of graders, and of models."""
