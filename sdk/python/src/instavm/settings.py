"""Which server to talk to, and as whom."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .exceptions import AuthenticationError, InvalidRequestError

DEFAULT_BASE_URL = "http://127.0.0.1:8222"
DEFAULT_STATE_DIRECTORY = "/var/lib/instavm"


@dataclass(frozen=True, repr=False)
class Settings:
    """A server and a key for it."""

    base_url: str
    api_key: str
    #: The server is this machine: proxies do not lead to it.
    is_local: bool


def read_settings(api_key: str | None, base_url: str | None) -> Settings:
    """What the caller gives, else INSTAVM_BASE_URL and INSTAVM_API_KEY, else the server of this machine and its admin key.

    Raises AuthenticationError when there is no key.
    """
    url = _checked(base_url or os.environ.get("INSTAVM_BASE_URL") or DEFAULT_BASE_URL)
    is_local = _is_this_machine(url)
    # The admin key is never sent anywhere else.
    key = api_key or os.environ.get("INSTAVM_API_KEY") or (_admin_key() if is_local else None)
    if not key:
        place = f", nor a readable {_admin_key_path()}" if is_local else ""
        raise AuthenticationError(
            f"There is no API key for {url}: no api_key, no INSTAVM_API_KEY{place}.",
            next="Pass api_key. A server writes its first key to admin-key in its state directory.",
        )
    return Settings(url, key, is_local)


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequestError(f"The base URL {url!r} is none; expected one such as {DEFAULT_BASE_URL}.")
    return url.rstrip("/")


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _admin_key_path() -> Path:
    return Path(os.environ.get("INSTAVM_STATE_DIR") or DEFAULT_STATE_DIRECTORY, "admin-key")


def _admin_key() -> str | None:
    try:
        return _admin_key_path().read_text().strip()
    except OSError:
        return None
