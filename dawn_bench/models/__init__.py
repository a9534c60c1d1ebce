"""The built-in models, one folder per paper, and what they share."""
