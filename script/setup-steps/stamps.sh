# A step whose inputs are as they were at its last success is left out. Sourced, never run.
# shellcheck shell=bash

readonly stamp_dir="$root/.build/stamps"

# hash_of <path…>: one hash over the names and contents of these files and of all files under these directories.
hash_of() {
  (cd "$root" && find "$@" -type f -not -path '*/node_modules/*' -not -path '*/gen/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
    sha256sum | cut -d ' ' -f 1
}

# is_fresh <step> <hash> [<file that the step makes>…]
is_fresh() {
  local stamp="$stamp_dir/$1" made
  [ "$(cat "$stamp" 2>/dev/null)" = "$2" ] || return 1
  for made in "${@:3}"; do [ -e "$made" ] || return 1; done
}

# mark_fresh <step> <hash>
mark_fresh() {
  mkdir -p "$stamp_dir"
  printf '%s' "$2" >"$stamp_dir/$1"
}
