"""The version of this release: of the server, too."""

__version__ = "0.1.0"
