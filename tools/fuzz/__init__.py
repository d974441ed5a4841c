"""Fuzzing: real files, changed as damage and malice would change them, and what reads them must say so or cope.

    seeds  ->  mutate, mend checksums  ->  target: a reader of shardkit  ->  None or one of core/errors.py

``targets`` lists what is fuzzed; ``campaign`` runs one of them for minutes in a process whose memory and time are
bounded; the tests in ``tests/fuzz`` run all of them for seconds, with the same mutations.
"""
