"""Learners: one file each, on shared primitives."""
