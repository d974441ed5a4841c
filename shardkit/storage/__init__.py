"""Where bytes live: locations, and reading, listing and writing at them through one seam."""
