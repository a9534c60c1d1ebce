"""How each model is trained, one file each: its stages in order, its presets, what it takes from the cache."""
