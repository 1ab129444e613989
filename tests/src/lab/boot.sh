# Becomes PID 1 of a lab. Runs in fresh pid, mount, cgroup, network, UTS and IPC namespaces.
#   $1 directory of the instance (with layer/ and root/)   $2 the seed   $3 programs to show at /opt/killtrace
# Everything that is written goes to a tmpfs that this mount namespace alone sees, so that nothing
# is left behind when the last process of the lab is gone.
set -eu
instance=$1 seed=$2 programs=$3 root=$1/root

mount --make-rprivate /
mount -t tmpfs -o mode=755 lab "$root"
mkdir "$root/upper" "$root/work" "$root/new"
mount -t overlay -o "lowerdir=$instance/layer:$seed,upperdir=$root/upper,workdir=$root/work" lab "$root/new"
cd "$root/new"

# The machine's own kernel settings are out of reach.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
    mount --bind /dev/null proc/sysrq-trigger
fi
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup

mount -t tmpfs -o mode=755 dev dev
mkdir dev/pts dev/shm
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp

mkdir -p opt/killtrace old
mount --bind "$programs" opt/killtrace
mount -o remount,bind,ro opt/killtrace
hostname lab

pivot_root . old
cd /
umount -l /old
rmdir /old
exec env -i container=killtrace-lab \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
