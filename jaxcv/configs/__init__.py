"""Presets: one experiment a file, whose docstring says command, hardware, time and result.

A preset is a module with a function `experiment() -> Experiment`; the file's name is the preset's. One
that is made for several accelerators says for how many: `ACCELERATORS = 8`.
"""
