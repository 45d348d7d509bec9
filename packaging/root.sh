#!/bin/sh
# Makes a root of any Debian or Ubuntu release, once, and prints where it is: sh packaging/root.sh SUITE PACKAGES
# (with commas). It is kept in TWOFA_CACHE under the hash of what it is made of, and only ever read.
# The packages come from where this machine's own come from; those of the other of the two distributions from where
# mmdebstrap looks, or from TWOFA_DEBIAN_SOURCES, TWOFA_UBUNTU_SOURCES (files for apt; @SUITE@ stands for the release).
set -eu
umask 022
suite=$1
packages=$2
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${TWOFA_CACHE:-$here/target/e2e}

# The key that signs Ubuntu's archive since 2018. Debian has no package with it, so the one from the archive is taken
# when it has this fingerprint.
UBUNTU_KEY=F6ECB3762474EDA9D21B7022871920D1991BC93C

die() {
    printf 'root.sh: %s\n' "$1" >&2
    exit 1
}

# Whose release it is
distribution() {
    case $1 in
    bullseye | bookworm | trixie | forky | sid) echo debian ;;
    *) echo ubuntu ;;
    esac
}

# The file that names this machine's own archive
own_sources() {
    for file in "${TWOFA_SOURCES:-}" /etc/apt/sources.list.d/*debian.sources /etc/apt/sources.list.d/*ubuntu.sources /etc/apt/sources.list; do
        if [ -e "$file" ] && grep -qE '^(deb |URIs:)' "$file"; then
            echo "$file"
            return
        fi
    done
    die "no package sources in /etc/apt; set TWOFA_SOURCES"
}

# What mmdebstrap is told beside the suite and the place, a word a line
archive() {
    # shellcheck disable=SC1091
    machine=$(. /etc/os-release && echo "$ID $VERSION_CODENAME")
    case $1 in
    debian) given=${TWOFA_DEBIAN_SOURCES:-} ;;
    ubuntu) given=${TWOFA_UBUNTU_SOURCES:-} ;;
    esac
    list=$work/$suite.sources
    if [ "$given" ]; then
        sed "s/@SUITE@/$suite/g" "$given" >"$list"
        echo "$list"
    elif [ "${machine% *}" = "$1" ]; then
        sources=$(own_sources)
        [ "$sources" = "${sources%.sources}" ] && list=$work/$suite.list
        sed "s/\b${machine#* }\b/$suite/g" "$sources" >"$list"
        echo "$list"
    elif [ "$1" = ubuntu ] && [ ! -e /usr/share/keyrings/ubuntu-archive-keyring.gpg ]; then
        echo "--keyring=$(ubuntu_keyring)"
    fi
}

# Unpacked, not installed: nothing of it runs.
ubuntu_keyring() {
    mmdebstrap --quiet --mode=root --variant=extract --include=ubuntu-keyring --format=directory \
        --aptopt='APT::Sandbox::User "root"' --aptopt='Acquire::AllowInsecureRepositories "true"' \
        --aptopt='APT::Get::AllowUnauthenticated "true"' noble "$work/keyring" >&2
    gpg --quiet --no-default-keyring --keyring "$work/keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg" \
        --export "$UBUNTU_KEY" >"$work/ubuntu.gpg"
    [ -s "$work/ubuntu.gpg" ] || die "Ubuntu's archive has no key $UBUNTU_KEY"
    echo "$work/ubuntu.gpg"
}

kind=$(distribution "$suite")
# shellcheck disable=SC2086  # none, or one word each
hash=$(echo "$suite $packages" |
    cat "$0" "$(own_sources)" ${TWOFA_DEBIAN_SOURCES:-} ${TWOFA_UBUNTU_SOURCES:-} - | sha256sum | cut -c 1-16)
root=$cache/release-$suite-$hash
# Nobody but root may look inside: it holds set-uid programs that get no security updates.
(umask 077 && mkdir -p "$cache")
exec 9>"$cache/release-$suite-lock"
flock 9
if [ ! -e "$root" ]; then
    command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: run tests/prepare test"
    work=$(mktemp -d)
    trap 'rm -rf "$work" "$root.partial"' EXIT
    export GNUPGHOME="$work"
    echo "building the $suite root (once)" >&2
    rm -rf "$root.partial"
    options=$(archive "$kind")
    case $kind in ubuntu) components=main,universe ;; *) components=main ;; esac
    mirror=
    case $options in "" | --keyring=*) ;; *) mirror=$options options= ;; esac
    # Since Debian 10 installations have it; later releases bring it themselves.
    case $suite in bullseye) options="$options --setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh" ;; esac
    # shellcheck disable=SC2086  # a list of words
    mmdebstrap --quiet --mode=root --format=directory --variant=minbase --include="$packages" \
        --components="$components" --aptopt='APT::Sandbox::User "root"' \
        --dpkgopt=force-unsafe-io --customize-hook='echo twofa-test >"$1/etc/hostname"' \
        --customize-hook='printf "127.0.0.1 localhost twofa-test\n::1 localhost\n" >"$1/etc/hosts"' \
        --customize-hook='[ ! -d "$1/etc/update-motd.d" ] || find "$1/etc/update-motd.d" -type f -exec chmod -x {} +' \
        $options "$suite" "$root.partial" $mirror >&2
    # Device nodes on the machine's disk would serve nobody.
    rm -rf "$root.partial/dev"
    mkdir "$root.partial/dev"
    mv "$root.partial" "$root"
fi
echo "$root"
