"""``python -m shardkit``."""

from shardkit.cli.main import main

main()
