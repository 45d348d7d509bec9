#!/bin/sh
# What is in the shipped programs, as CycloneDX 1.5 (JSON): sh packaging/sbom.sh. The same source gives the same bytes.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
crates=$(cargo tree --locked --offline --package pam_twofa --package twofa-admin --package twofa-helper \
    --edges normal,no-proc-macro --prefix none --format '{p} {l}' | sed 's/ (\*)$//; /^twofa\|^pam_twofa\|^$/d' | sort -u)
# Of the crates as they were downloaded
sums=$(awk '/^name = /{name=$3} /^version = /{version=$3} /^checksum = /{print name, version, $3}' Cargo.lock | tr -d '"')

cat <<END
{
  "bomFormat": "CycloneDX",
  "specVersion": "1.5",
  "version": 1,
  "metadata": {
    "component": { "type": "application", "bom-ref": "twofa", "name": "twofa", "version": "$version" }
  },
  "components": [
END
{
    printf '%s\n' "$sums" | sed 's/^/sum /'
    printf '%s\n' "$crates"
} | awk '
    $1 == "sum" { sums[$2 " " $3] = $4; next }
    {
        version = substr($2, 2)
        licence = $0
        sub(/^[^ ]+ [^ ]+ /, "", licence)
        # As SPDX wants it since 2019
        gsub(/\//, " OR ", licence)
        url = "pkg:cargo/" $1 "@" version
        printf "%s    { \"type\": \"library\", \"bom-ref\": \"%s\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"%s\",\n", comma, url, $1, version, url
        printf "      \"hashes\": [{ \"alg\": \"SHA-256\", \"content\": \"%s\" }],\n", sums[$1 " " version]
        printf "      \"licenses\": [{ \"expression\": \"%s\" }] }", licence
        comma = ",\n"
    }'
crate=libsqlite3-sys-$(printf '%s\n' "$sums" | sed -n 's/^libsqlite3-sys \([^ ]*\) .*/\1/p')
sqlite=$(cat "vendor/$crate/sqlite3/sqlite3.h" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$crate/sqlite3/sqlite3.h" 2>/dev/null |
    sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"/\1/p' | head -n 1)
cat <<END
,
    { "type": "library", "bom-ref": "sqlite", "name": "sqlite", "version": "$sqlite", "purl": "pkg:generic/sqlite@$sqlite",
      "licenses": [{ "expression": "blessing" }] }
  ]
}
END
