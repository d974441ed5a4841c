"""``shardkit repair``: what can be mended of a damaged dataset, written beside it; nothing that is there is changed."""
