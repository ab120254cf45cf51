"""Models: loading, the one shift, teachers and their shards."""
