# What the machine must be. Sourced, never run.
# shellcheck shell=bash

# version_at_least <seen> <minimum>
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

require_machine() {
  if [ "$(uname -s)" != Linux ] || [ "$(uname -m)" != x86_64 ]; then
    fail "InstaVM needs Linux on x86-64; this is $(uname -s) on $(uname -m)." "Use an x86-64 machine with Debian 12, Debian 13 or Ubuntu 24.04."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "InstaVM starts VMs and installs packages as root; this is user $(id -un)." "Run it as root, for example: sudo $0"
  fi
  if ! command -v apt-get >/dev/null; then
    fail "script/setup installs what is missing with apt-get, which is not here." "Use Debian 12, Debian 13 or Ubuntu 24.04."
  fi
  local distribution
  distribution=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-}")
  case $distribution in
    "debian 12"* | "debian 13"* | "ubuntu 24.04"*) ;;
    *) say "warning: $distribution is untried; known to work are Debian 12, Debian 13 and Ubuntu 24.04. Going on." ;;
  esac
}

# One setup at a time in this checkout. The lock is this process's and ends with it.
take_setup_lock() {
  mkdir -p "$root/.build"
  exec 9>"$root/.build/setup.lock"
  if flock --nonblock 9; then return; fi
  say "another script/setup is at work in $root; waiting for it"
  flock 9
}
