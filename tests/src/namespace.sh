# PID 1 of a world: mounts a throw-away root, enters it and stays, so that orphans are reaped.
# $1: the unpacked root, shared and only read.  $2: an empty directory to mount on.
# The mount, pid, net, uts and ipc namespaces are already private: nothing here is visible outside.
set -eu
# The tester's own umask must not decide who may read what in here.
umask 022
lower=$1
stage=$2
# /proc is still the machine's: this is our process id out there, which the tests need to enter.
read -r outside _ </proc/self/stat

mount -t tmpfs -o mode=755 tmpfs "$stage"
cd "$stage"
mkdir upper work root
mount -t overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" overlay root
cd root
: >.twofa-world
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm run/sshd run/lock
for node in null zero full random urandom tty; do
    : >"dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

pivot_root . mnt
umount -l /mnt
hostname twofa-test
ip link set lo up

echo "$outside"
# Stays until the test closes our input or is gone, whatever way. `wait` reaps what sshd leaves behind.
exec 3<&0
cat <&3 >/dev/null &
wait $!
