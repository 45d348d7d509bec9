#!/bin/sh
# Builds the packages for Debian and Ubuntu in a clean root of the oldest release that they are for, without a network:
# sh packaging/deb.sh [FOLDER]. The compiler is this machine's, and only read; libc is the root's, so that what is built
# here runs on every later release. Nothing is built when nothing has changed.
# For the test that builds are reproducible: TWOFA_BUILD_PLACE is where in the root to build, TWOFA_BUILD_SETTINGS what
# else to put into the environment.
set -eu
umask 022
SUITE=bullseye
NEEDS=debhelper,dpkg-dev,gcc,libc6-dev,make,pkg-config,libudev-dev,libpam0g-dev
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "${1:-$here/target/packages}" && cd "${1:-$here/target/packages}" && pwd)
place=${TWOFA_BUILD_PLACE:-/build}
settings=${TWOFA_BUILD_SETTINGS:-}

[ "$(id -u)" = 0 ] || { echo "deb.sh: this needs root: it builds in a root of its own" >&2; exit 1; }
cd "$here"
rust=$(rustc --print sysroot)
[ -d "$rust/lib/rustlib" ] && [ "$rust" != /usr ] ||
    { echo "deb.sh: this needs a toolchain of rustup: a distribution's is linked against its own libc" >&2; exit 1; }

source=$(sh packaging/source.sh "$out")
# Of what can make a difference to the packages
hash=$({
    rustc --version --verbose
    cat packaging/deb.sh packaging/root.sh
    tar --exclude='*/tests' --exclude='*/fuzz' --exclude='*.md' --exclude='*/packaging/arch' --exclude='*/packaging/rpm' \
        --exclude='*/packaging/selinux' --exclude='*/packaging/check.sh' -xOf "$source"
} | sha256sum)
if [ "$(cat "$out/built" 2>/dev/null)" = "$hash" ]; then
    echo "deb.sh: nothing has changed since $out was built"
    exit 0
fi
rm -f "$out/built" "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
root=$(sh packaging/root.sh "$SUITE" "$NEEDS")
stage=$(mktemp -d)
trap 'rmdir "$stage"' EXIT

# All mounts are private, and gone with this process.
export root stage rust out source place settings
unshare --mount --pid --net --ipc --fork --kill-child --propagation private sh -eu <<'END'
mount -t tmpfs -o mode=755 tmpfs "$stage"
cd "$stage"
mkdir upper work root
mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay root
cd root
mkdir -p "./$place" opt/rust
mount --bind "$rust" opt/rust
mount -o remount,bind,ro opt/rust
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
tar --warning=no-timestamp -C "./$place" -xf "$source"
# -d: the compiler is none of Debian's packages.
# shellcheck disable=SC2086  # words
env -i PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$place" LANG=C.UTF-8 $settings \
    chroot . sh -euc "cd $place/twofa-* && dpkg-buildpackage --build=binary --no-sign -d >../build.log 2>&1" || {
    tail -n 60 "./$place/build.log" >&2
    exit 1
}
cp "./$place"/*.deb "./$place"/*.changes "./$place"/*.buildinfo "./$place/build.log" "$out"
END
echo "$hash" >"$out/built"
ls "$out"/*.deb
