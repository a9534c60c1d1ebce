"""Media files: exact-rate video reading and writing, sound, pictures."""
