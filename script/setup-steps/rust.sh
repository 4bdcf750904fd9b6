# A Rust toolchain: the machine's when it is new enough, else the distribution's newest. Sourced, never run.
# shellcheck shell=bash

readonly agent_binary="$root/target/release/instavm-agent"
readonly launcher_binary="$root/target/release/instavm-launcher"
readonly fork_library="$root/target/release/libinstavm_fork.so"
readonly tsc_khz_binary="$root/target/release/instavm-tsc-khz"

# rust_is_here <with clippy and rustfmt: yes | no>: a toolchain that is new enough is on the PATH.
rust_is_here() {
  local seen
  seen=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) && [ -n "$seen" ] || return 1
  version_at_least "${seen%%-*}" "$rust_minimum" && command -v cargo >/dev/null || return 1
  [ "$1" = no ] || { command -v cargo-clippy && command -v rustfmt; } >/dev/null
}

# Directories where a toolchain lies that is not on the PATH: rustup's, and Ubuntu's of one version each, newest first.
add_rust_to_path() {
  local directory
  for directory in "${HOME:-/root}/.cargo/bin" $(ls -d /usr/lib/rust-1.*/bin 2>/dev/null | sort -rV); do
    if rust_is_here no; then return; fi
    if [ -x "$directory/cargo" ]; then export PATH="$directory:$PATH"; fi
  done
}

# rust_packages <with clippy and rustfmt: yes | no>: those of the newest toolchain that apt knows; none when all are too old.
rust_packages() {
  local version
  if is_rust_candidate rustc-web; then
    toolchain_packages "$1" rustc-web cargo-web rust-web-clippy rustfmt-web
    return
  fi
  for version in $(apt-cache pkgnames rustc-1. | sed 's/^rustc-//' | sort -rV); do
    if is_rust_candidate "rustc-$version" && [ -n "$(candidate_of "cargo-$version")" ]; then
      toolchain_packages "$1" "rustc-$version" "cargo-$version" "rust-$version-clippy" "rustfmt-$version"
      return
    fi
  done
  if is_rust_candidate rustc; then toolchain_packages "$1" rustc cargo rust-clippy rustfmt; fi
}

toolchain_packages() {
  if [ "$1" = yes ]; then echo "${@:2}"; else echo "$2 $3"; fi
}

is_rust_candidate() {
  local candidate
  candidate=$(candidate_of "$1")
  [ -n "$candidate" ] && version_at_least "${candidate%%[+~]*}" "$rust_minimum"
}

require_rust() {
  add_rust_to_path
  if rust_is_here "$1"; then return; fi
  local what="Rust $rust_minimum or newer"
  if [ "$1" = yes ]; then what="$what with clippy and rustfmt"; fi
  fail "there is no $what, neither on the PATH nor in the package sources." "Install it with rustup (https://rustup.rs), then run this again."
}

rust_hash() { hash_of Cargo.toml Cargo.lock .cargo guest launcher protocol/instavm; }

rust_is_fresh() { is_fresh rust "$(rust_hash)" "$agent_binary" "$launcher_binary" "$fork_library" "$tsc_khz_binary"; }

build_rust() {
  local hash
  hash=$(rust_hash)
  cd "$root"
  cargo build --release --locked
  mark_fresh rust "$hash"
}
