"""Methods that run in their official repository, with its own interpreter, as a declarative file says.

`adapter` reads the files, `stage` lays one item out, `process` runs the command, `method` puts them together.
None of these repositories is imported, fetched or kept here; the user says where his copies are (see `adapter`).
"""
