#!/bin/sh
# What packagers check, in roots of their own: sh packaging/check.sh FOLDER (where `make deb` has put the packages).
# lintian finds no error and no warning, piuparts installs and purges without a trace, and a second build, later and
# elsewhere, is the same, bit by bit. The RPM is built and linted, the SELinux policy compiled, and Arch's package built by
# makepkg; rpm and pacman install both, and may not remove them while PAM names the module.
# The SELinux policy is linked into Debian's whole one, which then has to say what is promised of it.
# With a second argument only that: lintian, piuparts, twice, selinux, rpm, arch or shell.
set -eu
umask 022
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(cd "$1" && pwd)
only=${2:-}
cd "$here"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# $1: a step. Says how long it took.
step() {
    [ "$only" ] && [ "$only" != "$1" ] && return
    began=$(date +%s)
    "$1"
    echo "check.sh: $1: $(($(date +%s) - began)) s"
}

tools() {
    sh packaging/root.sh trixie lintian,piuparts,rpm,rpmlint,selinux-policy-dev,checkpolicy,semodule-utils,shellcheck,make,bzip2,gcc,libc6-dev,libpam0g-dev,libudev-dev,pkg-config,openssh-server,pacman-package-manager,makepkg,libarchive-tools,fakeroot
}

# Runs a script in a throw-away copy of that root (or of $2), which finds the packages in /packages and leaves files in
# /results.
in_tools() {
    root=${2:-$(tools)}
    stage=$work/stage
    mkdir -p "$stage" "$work/results"
    rust=$(rustc --print sysroot)
    results=$work/results
    export root stage rust out here results script="$1"
    unshare --mount --pid --ipc --fork --kill-child --propagation private sh -eu <<'END'
mount -t tmpfs -o mode=755 tmpfs "$stage"
cd "$stage"
mkdir upper work root
mount -t overlay -o "lowerdir=$root,upperdir=upper,workdir=work" overlay root
cd root
mkdir packages source results opt/rust
mount --bind "$out" packages
mount --bind "$here" source
mount --bind "$results" results
mount --bind "$rust" opt/rust
for folder in packages source opt/rust; do
    mount -o remount,bind,ro "$folder"
done
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
env -i PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 chroot . sh -euc "$script"
END
}

lintian() {
    in_tools 'lintian --allow-root --fail-on error,warning --display-info /packages/*.changes'
}

# piuparts installs in a tar of a release that has what the packages depend on.
piuparts() {
    root=$(sh packaging/root.sh bookworm libpam-runtime,passwd)
    tar -C "$root" --numeric-owner -cf "$work/results-base.tar" .
    mkdir -p "$work/results"
    mv "$work/results-base.tar" "$work/results/base.tar"
    in_tools 'piuparts --distribution bookworm --basetgz /results/base.tar --no-eatmydata --no-upgrade-test \
        --warn-on-leftovers-after-purge /packages/*.deb >/results/piuparts.log 2>&1 || { tail -n 60 /results/piuparts.log; exit 1; }
        grep -E "PASS|FAIL|WARN" /results/piuparts.log | tail -n 5'
}

twice() {
    mkdir "$work/twice"
    TWOFA_BUILD_PLACE=/home/somebody/elsewhere \
        TWOFA_BUILD_SETTINGS="LC_ALL=C TZ=Pacific/Kiritimati USER=somebody" \
        sh packaging/deb.sh "$work/twice" >/dev/null
    for package in "$out"/*.deb; do
        cmp "$package" "$work/twice/${package##*/}"
        sha256sum "$package"
    done
}

shell() {
    in_tools 'cd /source && shellcheck --severity=warning packaging/*.sh packaging/debian/*.p* && shellcheck --severity=warning --shell=bash --exclude=SC2034,SC2154,SC2164 packaging/arch/PKGBUILD'
}

# What rpm and pacman do on a host of their own, but for its libpam, which is Debian's and looks elsewhere. INSTALL and
# REMOVE are commands. The removal is refused, and ends nothing, while somebody else's line names the module.
lifecycle() {
    cat <<'END'
lifecycle() {
    export DEBIAN_FRONTEND=noninteractive
    all=/etc/pam.d
    before=$(md5sum $all/*)
    $INSTALL
    [ "$(md5sum $all/*)" = "$before" ]
    module=$(find /usr/lib64/security /usr/lib/security -name pam_twofa.so 2>/dev/null | head -n 1)
    ln -s "$module" "/usr/lib/$(uname -m)-linux-gnu/security/"
    twofa-admin init --yes --write >/dev/null
    grep -q pam_twofa $all/sshd
    echo "auth required pam_twofa.so" >>$all/su
    enabled=$(md5sum $all/*)
    if $REMOVE; then
        echo "removed, and $all/su names it"
        exit 1
    fi
    [ "$(md5sum $all/*)" = "$enabled" ]
    twofa-admin --version
    sed -i /pam_twofa/d $all/su
    $REMOVE
    [ "$(md5sum $all/*)" = "$before" ]
    [ ! -e "$module" ] && [ ! -e /usr/sbin/twofa-admin ] && [ ! -e /usr/bin/twofa-admin ]
    echo "installed, set up, removal refused, removed"
}
END
}

# Built from the source with all crates, by rpmbuild. rpmlint does not know Debian's groups and signatures.
rpm() {
    in_tools 'cp /packages/twofa-*.tar /root && cd /root &&
        rpmbuild -tb --nodeps --define "_topdir /root/rpm" --define "_sharedstatedir /var/lib" \
            /root/twofa-*.tar >/results/rpm.log 2>&1 || { tail -n 60 /results/rpm.log; exit 1; }
        find rpm -name "*.rpm" -exec sh -c "rpm -qp --info \"\$1\" | head -n 4; rpm -qlp \"\$1\"" sh {} \;
        rpmlint --config /source/packaging/rpm/rpmlint.toml $(find rpm -name "*.rpm") /source/packaging/rpm/*.spec
        mkdir -p /run/sshd
        INSTALL="rpm --install --nodeps $(find rpm -name "*.$(uname -m).rpm" | tr "\n" " ")"
        REMOVE="rpm --erase --nodeps pam_twofa twofa-admin"
        '"$(lifecycle)"'
        lifecycle'
}

# Linked into the whole policy of Debian 12, which then has to allow what logins need, and nothing of what is not the helper's.
selinux() {
    in_tools 'cp -r /source/packaging/selinux /root/policy && cd /root/policy
        make -s -f /usr/share/selinux/devel/Makefile pam_twofa.pp
        semodule -n -s default -X 200 -i pam_twofa.pp 2>/root/semodule.log || { cat /root/semodule.log; exit 1; }
        for label in /etc/twofa/twofa.toml:twofa_etc_t /etc/twofa/store.key:twofa_var_lib_t \
            /var/lib/twofa/state/0:twofa_var_lib_t /var/lib/twofa/notices:twofa_ledger_t \
            /usr/libexec/twofa/twofa-helper:twofa_helper_exec_t; do
            matchpathcon -n -m file -f /etc/selinux/default/contexts/files/file_contexts "${label%:*}" | grep ":${label#*:}:"
        done
        python3 /source/packaging/selinux/claims.py /etc/selinux/default/policy/policy.*' \
        "$(sh packaging/root.sh bookworm selinux-policy-default,setools,policycoreutils,semodule-utils,selinux-policy-dev,checkpolicy,make,m4)"
}

# By makepkg and pacman of Debian.
arch() {
    in_tools 'useradd --create-home somebody
        cp /packages/twofa-*.tar /source/packaging/arch/* /home/somebody
        su somebody -c "PATH=$PATH; cd && makepkg --nodeps" >/results/makepkg.log 2>&1 || { tail -n 60 /results/makepkg.log; exit 1; }
        printf "[options]\nSigLevel = Never\nArchitecture = auto\n" >/root/pacman.conf
        mkdir -p /run/sshd
        pacman="pacman --config /root/pacman.conf --noconfirm"
        INSTALL="$pacman --upgrade --nodeps --nodeps $(ls /home/somebody/pam-twofa-*.pkg.tar*)"
        REMOVE="$pacman --remove pam-twofa"
        '"$(lifecycle)"'
        lifecycle'
}

step shell
step lintian
step piuparts
step twice
step selinux
step rpm
step arch
