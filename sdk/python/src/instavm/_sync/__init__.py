# Made by generate_sync.py from _async/__init__.py: change that and run it again.
"""The blocking client."""
