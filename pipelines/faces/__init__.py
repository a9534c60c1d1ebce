"""Faces: detection and landmarks by back ends, tracking through a clip, and who is speaking."""
