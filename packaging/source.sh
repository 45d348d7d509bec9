#!/bin/sh
# The source with all crates, for who builds without a network: sh packaging/source.sh FOLDER. It writes
# twofa-VERSION.tar there, the same bytes from the same source, and prints its name.
set -eu
umask 022
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=twofa-$version
date=$(date --date="$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%s)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/$name"
tar --exclude=./target --exclude=./.git --exclude=./fuzz/target -cf - . | tar -C "$tree/$name" -xf -
cd "$tree/$name"
cargo vendor --quiet --locked --versioned-dirs vendor >/dev/null
cat >>.cargo/config.toml <<'END'

# All crates are here: nothing is downloaded.
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "vendor"
END
# debhelper looks for it here.
cp -R packaging/debian debian
cd ..
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s --mtime="@$date" --format=gnu \
    -cf "$out/$name.tar.new" "$name"
mv "$out/$name.tar.new" "$out/$name.tar"
echo "$out/$name.tar"
