"""From recordings to a dataset: inputs, assignment, workers, publishing; and adoption of existing tars."""
