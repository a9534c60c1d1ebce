"""Face back ends, one file each: detection and 68 landmarks."""
