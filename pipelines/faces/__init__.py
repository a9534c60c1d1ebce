"""Faces: detection and landmark back ends, tracking through a clip, and active-speaker selection."""
