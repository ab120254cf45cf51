"""Looking at a training run from outside: its log, its curves, and whether it still goes on."""
