"""Features, one file each; importing a module registers its features."""
