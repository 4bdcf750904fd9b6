"""What differs between a program that waits and one that does something else meanwhile."""

from asyncio import Lock, sleep

__all__ = ["Lock", "sleep"]
