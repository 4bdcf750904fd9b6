# The Rust programs and the base image, side by side: the image's root filesystem takes longest and needs
# neither of them; only its initrd holds the agent, so that comes last. Sourced, never run.
# shellcheck shell=bash

build_programs_and_image() {
  if ! rust_is_fresh; then step "agent and launcher" build_rust; fi
}
