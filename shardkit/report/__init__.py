"""What there is to tell of a dataset: facts, verification, export, figures."""
