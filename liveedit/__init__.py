"""Editing what a small vision-language model knows, while it runs."""
