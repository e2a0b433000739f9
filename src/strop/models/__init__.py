"""Text in, completions out: local transformers models, GGUF files and OpenAI-compatible endpoints behind one protocol."""
