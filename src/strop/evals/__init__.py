"""Measurements of models: one file a benchmark or metric."""
