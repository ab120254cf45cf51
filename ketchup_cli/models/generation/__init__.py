"""Engines that turn prompts into text."""
