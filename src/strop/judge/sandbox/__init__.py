"""Isolation: what a program's process may see, do and use. Nothing here imports the rest of the judge."""
