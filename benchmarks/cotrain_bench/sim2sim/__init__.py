"""Sim-and-sim co-training: a policy learns a task in one domain, helped by demonstrations from another.

`cotrain bench sim2sim --help` runs it.
"""
