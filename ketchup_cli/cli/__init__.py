"""The command line; imports nothing heavy before a stage runs."""
