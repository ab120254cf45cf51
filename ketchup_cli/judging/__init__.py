"""A language model as judge: what is asked, how, and what its answers are worth; without torch."""
