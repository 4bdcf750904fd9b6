# Puts the project's Node, its tools and the Rust toolchain on the PATH. Sourced, with $root set, after script/setup.
# shellcheck shell=bash
. "$root/script/setup-steps/versions.sh"
. "$root/script/setup-steps/machine.sh"
. "$root/script/setup-steps/node.sh"
. "$root/script/setup-steps/rust.sh"
add_node_to_path
add_rust_to_path
