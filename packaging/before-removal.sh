#!/bin/sh
# Before pam_twofa.so is removed, by whatever removes it. While a file of PAM names the module, its removal would end
# every login with "Module is unknown": so its lines go first, and where that does not succeed, this fails.
set -e

# The lines of PAM that name the module, each below the name of its file, but for copies that libpam does not read
naming() {
    for file in /etc/pam.conf /etc/pam.d/* /usr/lib/pam.d/*; do
        case $file in
        *.twofa-backup* | *.dpkg-* | *.ucf-* | *.rpmnew | *.rpmsave | *.rpmorig | *.pacnew | *.pacsave | *~) continue ;;
        esac
        grep -Hs '^[^#]*pam_twofa\.so' "$file" || true
    done
}

# Those of them that neither pam-auth-update nor `twofa-admin init` has written
foreign() {
    if command -v pam-auth-update >/dev/null; then
        naming | grep -v '^/etc/pam.d/common-\(auth\|account\):'
    else
        naming
    fi | grep -v '# twofa-admin init$'
}

refuse() {
    {
        echo "pam_twofa.so is not removed: without it, nobody could log in any more. These lines of PAM name it:"
        printf '%s\n' "$1" | sed 's/^/    /'
        echo "Take them out, and remove the package again."
    } >&2
    exit 1
}

# Before anything is taken out: a removal that does not take place must not end what is enforced.
lines=$(foreign || true)
[ -z "$lines" ] || refuse "$lines"
# What it could not take out is found below.
twofa-admin init --undo --yes >/dev/null || true
if command -v pam-auth-update >/dev/null; then
    pam-auth-update --package --remove twofa twofa-pubkey
fi
lines=$(naming)
[ -z "$lines" ] || refuse "$lines"
