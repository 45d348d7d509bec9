# Logs in on a full disk and on a read-only one, in a mount namespace of its own.
# $1: the folder of a site, with the driver, the module, the plans and an empty folder `world` in it.
# $2...: the plans; the last one is tried when the disk is read-only.
# Prints for each plan its name and the result of pam_authenticate, and at the end by how many bytes the store
# grew, and how many messages there are.
set -eu
site=$1
shift
world=$site/world

# A root that belongs to whoever runs this: the module trusts nothing below a folder of a stranger.
mount -t tmpfs -o mode=755,size=256m tmpfs "$world"
for top in bin lib lib32 lib64 libx32 sbin usr etc proc dev sys; do
    if [ -L "/$top" ]; then
        cp -P "/$top" "$world/$top"
    elif [ -d "/$top" ]; then
        mkdir "$world/$top"
        mount --rbind "/$top" "$world/$top"
    fi
done
mkdir -p "$world$site"
find "$site" -mindepth 1 -maxdepth 1 ! -name world ! -name log -exec cp -a {} "$world$site" \;

# The store alone on a disk as small as it is. (-n: mount's own notes about mounts are not ours to write.)
store=$world$site/store
mv "$store" "$store.copy"
mkdir "$store"
mount -n -t tmpfs -o mode=755,size=1m tmpfs "$store"
cp -a "$store.copy/." "$store"
if dd if=/dev/zero of="$store/filler" bs=512 status=none 2>/dev/null; then
    echo "the disk did not fill up" >&2
    exit 1
fi

# Lines of the audit trail may still fit in the last page.
size() {
    find "$store" -path "$store/audit" -prune -o -type f -printf '%s %b\n' | awk '{ bytes += $1 + 512 * $2 } END { print bytes }'
}
before=$(size)

try() {
    chroot "$world" "$site/driver" "$site/$1.plan" "$site/$1.out"
    echo "$1 $(sed -n 's/^authenticate\t//p' "$world$site/$1.out")"
}
while [ $# -gt 1 ]; do
    try "$1"
    shift
done
mount -n -o remount,bind,ro "$store"
try "$1"
echo "growth $(($(size) - before))"
echo "messages $(cat "$world$site/mail/all" 2>/dev/null | wc -l)"
