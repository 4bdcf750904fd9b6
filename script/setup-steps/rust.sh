# A Rust toolchain: the machine's when it is new enough, else the distribution's newest. Sourced, never run.
# shellcheck shell=bash

readonly cargo_target_dir="$root/target"

# rust_is_here [<tool>…]: cargo and rustc are new enough and these further tools are beside them.
rust_is_here() {
  local seen tool
  seen=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || return 1
  [ -n "$seen" ] && version_at_least "${seen%%-*}" "$rust_minimum" || return 1
  for tool in cargo "$@"; do command -v "$tool" >/dev/null || return 1; done
}

# Directories where a toolchain lies that is not on the PATH: rustup's, and Ubuntu's of one version each, newest first.
add_rust_to_path() {
  local directory
  for directory in "$HOME/.cargo/bin" $(ls -d /usr/lib/rust-1.*/bin 2>/dev/null | sort -rV); do
    if rust_is_here; then return; fi
    if [ -x "$directory/cargo" ]; then PATH="$directory:$PATH"; fi
  done
  export PATH
}

# Prints the packages of the newest toolchain that apt knows: compiler, cargo, clippy, rustfmt; nothing when all are too old.
rust_packages() {
  local version
  if is_rust_candidate rustc-web; then
    echo rustc-web cargo-web rust-web-clippy rustfmt-web
    return
  fi
  for version in $(apt-cache pkgnames rustc-1. | sed 's/^rustc-//' | sort -rV); do
    if is_rust_candidate "rustc-$version" && [ -n "$(candidate_of "cargo-$version")" ]; then
      echo "rustc-$version cargo-$version rust-$version-clippy rustfmt-$version"
      return
    fi
  done
  if is_rust_candidate rustc; then echo rustc cargo rust-clippy rustfmt; fi
}

is_rust_candidate() {
  local candidate
  candidate=$(candidate_of "$1")
  [ -n "$candidate" ] && version_at_least "${candidate%%[+~]*}" "$rust_minimum"
}

# setup_rust <for running: no | for testing: yes>
setup_rust() {
  local with_checkers=$1 packages
  local checkers=()
  if [ "$with_checkers" = yes ]; then checkers=(cargo-clippy rustfmt); fi
  add_rust_to_path
  if rust_is_here "${checkers[@]}"; then return; fi
  update_package_lists
  read -r -a packages <<<"$(rust_packages)"
  if [ ${#packages[@]} -eq 0 ]; then
    fail "the package sources have no Rust $rust_minimum or newer." "Install Rust with rustup (https://rustup.rs), then run this again."
  fi
  if [ "$with_checkers" = no ]; then packages=("${packages[@]:0:2}"); fi
  install_packages "Rust" "${packages[@]}"
  add_rust_to_path
  if ! rust_is_here "${checkers[@]}"; then
    fail "Rust $rust_minimum or newer is still missing after installing ${packages[*]}." "Install Rust with rustup (https://rustup.rs) with clippy and rustfmt, then run this again."
  fi
}

readonly agent_binary="$cargo_target_dir/release/instavm-agent"
readonly launcher_binary="$cargo_target_dir/release/instavm-launcher"

rust_hash() { hash_of Cargo.toml Cargo.lock guest launcher protocol/instavm $(cd "$root" && ls -d .cargo 2>/dev/null); }
rust_is_fresh() { is_fresh rust "$(rust_hash)" "$agent_binary" "$launcher_binary"; }

build_rust() {
  local hash
  hash=$(rust_hash)
  (cd "$root" && cargo build --release --locked)
  mark_fresh rust "$hash"
}
