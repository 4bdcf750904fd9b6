# The Rust programs and the base image, side by side: the image's root filesystem takes longest and needs
# neither of them; only its initrd holds the agent, so that comes last. Sourced, never run.
# shellcheck shell=bash

instavm_server() { node "$root/apps/server/src/main.ts" "$@"; }

build_programs_and_image() {
  local steps=()
  if ! rust_is_fresh; then steps+=("agent and launcher" build_rust); fi
  if ! image_is_fresh; then steps+=("base image" "instavm_server build-image --rootfs-only"); fi
  if [ ${#steps[@]} -gt 0 ]; then steps_together "${steps[@]}"; fi
  if ! image_is_fresh; then
    step "base image: initrd" instavm_server build-image
    mark_image_fresh
  fi
}
