# What script/setup installs by exact version, and the oldest that it takes from the machine.
# shellcheck shell=bash
readonly node_minimum=24.12.0
readonly node_version=24.21.0
readonly pnpm_version=12.21.0
readonly rust_minimum=1.85.0
