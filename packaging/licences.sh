#!/bin/sh
# The licences of all crates that are linked into what is shipped, each text once: sh packaging/licences.sh
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
shown=$(mktemp)
trap 'rm -f "$shown"' EXIT

cat <<'END'
Beside its own code (MIT OR Apache-2.0), pam_twofa.so, twofa-admin and twofa-helper have in them SQLite, which is in the
public domain, Rust's standard library (MIT OR Apache-2.0), and these crates. The texts of their licences follow.

END
crates=$(cargo tree --locked --offline --package pam_twofa --package twofa-admin --package twofa-helper --edges normal,no-proc-macro \
    --prefix none --format '{p}	{l}' | sed 's/ (\*)$//; s/ (proc-macro)//; /^twofa\|^pam_twofa\|^$/d; s/ v\([^ 	]*\)[^	]*/-\1/' | sort -u)
printf '%s\n' "$crates"
printf '%s\n' "$crates" | cut -f 1 | while read -r crate; do
    for folder in "vendor/$crate" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$crate"; do
        for text in "$folder"/LICEN[CS]E* "$folder"/COPYING* "$folder"/UNLICEN[CS]E* "$folder"/license*; do
            [ -f "$text" ] || continue
            sum=$(sha256sum <"$text")
            seen=$(sed -n "s|^$sum ||p" "$shown")
            printf '\n======== %s: %s' "$crate" "${text##*/}"
            if [ "$seen" ]; then
                printf ', the same as of %s\n' "$seen"
            else
                echo "$sum $crate" >>"$shown"
                printf '\n\n'
                cat "$text"
            fi
        done
    done
done
