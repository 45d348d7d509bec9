#!/bin/sh
# Before pam_twofa.so is removed, by whatever removes it. While a file of PAM names the module, its removal would end
# every login with "Module is unknown": so its lines go first, with the settings of sshd that belong to them. Where that
# does not succeed, this fails, and the module has to stay.
set -ef
# Names of files may have blanks in them.
IFS='
'
FOLDERS='/etc/pam.d
/usr/lib/pam.d'
DROP_IN=/etc/ssh/sshd_config.d/00-twofa.conf
NAMED='^[^#]*pam_twofa\.so'

# The files that libpam reads, and what they include from elsewhere
read_by_libpam() {
    # shellcheck disable=SC2086  # a list of words
    find -H /etc/pam.conf $FOLDERS ! -type d 2>/dev/null || true
    # shellcheck disable=SC2086
    grep -RhsioE '^[^#]*(include|substack)[[:blank:]]+[^[:blank:]#]*/[^[:blank:]#]*' $FOLDERS |
        sed 's,.*[[:blank:]],,; s,^[^/],/etc/pam.d/&,'
}

# Those of them that name the module, but for copies that services do not have
naming() {
    for file in $(read_by_libpam | sort -u); do
        case $file in
        *.twofa-backup* | *.dpkg-* | *.ucf-* | *.pam-old | *.pam-new) continue ;;
        *.rpmnew | *.rpmsave | *.rpmorig | *.pacnew | *.pacsave | *~) continue ;;
        esac
        if grep -qs "$NAMED" "$file"; then
            echo "$file"
        fi
    done
}

# Their lines that neither pam-auth-update nor `twofa-admin init` has written
foreign() {
    for file in $(naming); do
        ours='# twofa-admin init$'
        case $file in
        /etc/pam.d/common-auth | /etc/pam.d/common-account) ours='default=\(ignore\|die\)\][[:blank:]]*pam_twofa\.so' ;;
        esac
        grep -H "$NAMED" "$file" | grep -v "$ours" || true
    done
}

# $1: what names the module
refuse() {
    {
        said
        echo "pam_twofa.so is not removed: without it, nobody could log in any more. These lines of PAM name it:"
        # shellcheck disable=SC2086  # a list of words
        printf '    %s\n' $1
        echo "Take them out, and remove the package again."
    } >&2
    exit 1
}

# What stands in the way, where twofa-admin found something
said() {
    echo "$undone" | grep -E '^NOT WRITTEN|is as it was' || true
}

# Before anything is taken out: a removal that does not take place must not end what is enforced.
undone=
lines=$(foreign)
[ -z "$lines" ] || refuse "$lines"
# What it could not take out is found below. What is enforced, it takes out as a whole or not at all.
undone=$(twofa-admin init --undo --yes) || true
# Without the lines of PAM, they ask users for a password who have an SSH key and none.
# shellcheck disable=SC2016  # as it stands there
if grep -qs '^# Written by `twofa-admin init`' "$DROP_IN"; then
    {
        said
        echo "pam_twofa.so is not removed. With it goes what \`twofa-admin init\` wrote, which is still there:"
        # shellcheck disable=SC2046  # a list of words
        printf '    %s\n' $(naming) "$DROP_IN"
        echo "Take the lines of PAM and the settings of sshd out by hand, both: with only the settings, users with an"
        echo "SSH key and no password could not log in; with only the lines, nobody could type a code. Then remove the"
        echo "package again."
    } >&2
    exit 1
fi
# Where twofa-admin is gone. Where it left the profiles, pam-auth-update might take them out of common-auth and fail at
# common-account, which then refuses everybody.
if [ -z "$(said)" ] && command -v pam-auth-update >/dev/null; then
    pam-auth-update --package --remove twofa twofa-pubkey
fi
lines=$(for file in $(naming); do grep -H "$NAMED" "$file"; done)
[ -z "$lines" ] || refuse "$lines"
