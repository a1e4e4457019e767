# The first process of a throwaway machine: `sh machine.sh BASE`, in name spaces of its own.
#
# Lays files of its own, in memory, over those of this machine, and starts systemd there. Nothing that happens in it
# touches the disk of this machine. Everything that systemd would do to the kernel, which is not its own, is taken out.
set -eu
base=$1
# In the process numbers of whoever mounted this /proc: the name of this process outside.
read -r outside rest </proc/self/stat
printf '%s\n' "$outside" >"$base/pid"

mount --make-rprivate /
mount -t tmpfs tmpfs "$base/memory"
cd "$base/memory"
mkdir upper work machine
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work machine
cd machine

# Another one's programs are not started here, nor is anything set up that belongs to a real machine.
# Nor does anything keep services from being started, as an image for containers does.
rm -f usr/sbin/policy-rc.d
rm -rf etc/systemd/system usr/lib/systemd/system/*.wants lib/systemd/system/*.wants
mkdir -p etc/systemd/system
: >etc/machine-id

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
: >dev/console
: >"$base/console"
mount --bind "$base/console" dev/console

# By pivot_root, not chroot: services may have name spaces of users, which a process that is confined so can't make.
mkdir -p mnt
pivot_root . mnt
cd /
umount -l mnt

for systemd in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    if [ -x "$systemd" ]; then
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=test \
            "$systemd" --system --unit=basic.target --log-target=console
    fi
done
