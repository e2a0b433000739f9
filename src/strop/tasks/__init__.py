"""Where problems come from: embedded task sets, benchmark loaders, file formats and prompt protocols."""
