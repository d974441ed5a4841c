"""From a dataset to batches: catalog, view, plan, reader, batch, state."""
