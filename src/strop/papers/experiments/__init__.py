"""One module a paper, `pNN_name.py`, each with an `EXPERIMENT`."""
