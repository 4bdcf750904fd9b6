#!/bin/sh
# Runs on the host after the packages are in: `customize.sh <root>`. What the image is beyond its packages.
#
# INSTAVM_BUILD_INPUTS: a directory with this recipe's files, the interpreter's modules, npm.tgz and, where the host
# has them, its certificates (ca.crt). INSTAVM_BUILD_OUTPUTS: where the kernel goes.
# INSTAVM_KERNEL_PACKAGE: the metapackage that names the kernel.
set -eu
root=$1
inputs=$INSTAVM_BUILD_INPUTS
outputs=$INSTAVM_BUILD_OUTPUTS
work=$root/var/tmp/instavm-build
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

step() { echo "INSTAVM step $*"; }

in_root() {
  chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# The kernel: its package is unpacked, not installed, for that would bring an initramfs generator.
step kernel
kernel=$(in_root apt-cache depends --no-recommends --no-suggests "$INSTAVM_KERNEL_PACKAGE" |
  sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] || { echo "E: $INSTAVM_KERNEL_PACKAGE names no kernel package" >&2; exit 1; }
(cd "$work" && in_root sh -c "cd /var/tmp/instavm-build && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download $kernel")
dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel"
cp "$work"/kernel/boot/vmlinuz-* "$outputs/vmlinuz"
release=$(ls "$work/kernel/lib/modules")
printf '%s\n' "$release" >"$outputs/kernel-release"
mkdir -p "$root/usr/lib/modules"
# Drivers of hardware that no microVM has.
for unwanted in drivers/gpu drivers/media drivers/infiniband drivers/hid drivers/input drivers/usb drivers/nvme drivers/net/ethernet drivers/video sound; do
  rm -rf "$work/kernel/lib/modules/$release/kernel/$unwanted"
done
cp -R "$work/kernel/lib/modules/$release" "$root/usr/lib/modules/"
in_root depmod "$release"

# IPython, apart from the packages of the system and of the user.
step interpreter
private=$root/opt/instavm/python
mkdir -p "$private"
cp "$inputs/python-requirements.txt" "$work/"
set -- PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if [ -f "$inputs/ca.crt" ]; then
  cp "$inputs/ca.crt" "$work/"
  set -- "$@" PIP_CERT=/var/tmp/instavm-build/ca.crt
fi
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  value=$(printenv "$name" || true)
  [ -z "$value" ] || set -- "$@" "$name=$value"
done
in_root "$@" python3 -m pip install --quiet --no-cache-dir --no-deps --require-hashes --only-binary=:all: --retries 5 \
  --target /opt/instavm/python --requirement /var/tmp/instavm-build/python-requirements.txt
rm -rf "$private/bin" "$private/share"
cp "$inputs"/instavm_*.py "$private/"
in_root python3 -m compileall -q /opt/instavm/python

# Debian's npm is 335 packages, half of all that this image would have; upstream's is one archive.
step npm
modules=$root/usr/local/lib/node_modules
mkdir -p "$modules/npm"
tar -xzf "$inputs/npm.tgz" -C "$modules/npm" --strip-components=1 --no-same-owner
rm -rf "$modules/npm/docs" "$modules/npm/man"
# npm's own defaults: packages go where the PATH finds them.
mv "$inputs/npmrc" "$modules/npm/npmrc"
for name in npm npx; do
  chmod 0755 "$modules/npm/bin/$name-cli.js"
  ln -sf "../lib/node_modules/npm/bin/$name-cli.js" "$root/usr/local/bin/$name"
done

step files
cp -R "$inputs/files/." "$root/"
chmod 0440 "$root/etc/sudoers.d/instavm"
rm -f "$root/etc/skel/.bash_logout"
in_root useradd --create-home --shell /bin/bash --uid 1000 user
for name in .profile .bashrc; do
  cp "$root/etc/skel/$name" "$root/root/$name"
done
install -d -m 2775 "$root/app"
in_root chown root:user /app
# Commands that people type; `vi` is vim-tiny.
ln -sf vi "$root/usr/bin/vim"

# A name of its own and a network come with each VM.
printf 'instavm\n' >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"

step cleaning
rm -rf "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
  "$root"/root/.cache "$root"/root/.npm "$root"/etc/*- "$root"/usr/share/doc/*/changelog*
find "$root/usr/share/doc" -depth -type d -empty -delete
