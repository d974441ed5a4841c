"""Recordings as values: what they are, where their samples lie, how loud they are, and how to write them.

Knows nothing of shards, tars or URLs: bytes go in, samples and facts come out.
"""
