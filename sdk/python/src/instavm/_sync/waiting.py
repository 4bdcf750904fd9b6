# Made by generate_sync.py from _async/waiting.py: change that and run it again.
"""What differs between a program that waits and one that does something else meanwhile."""

from threading import Lock
from time import sleep

__all__ = ["Lock", "sleep"]
