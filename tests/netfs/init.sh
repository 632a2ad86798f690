#!/bin/sh
# Process 1 of a guest. Its root is the machine's own / (hostfs, read-only): whatever is installed there is installed
# here. Over it lie the packages that were unpacked for the guests, and over both a tmpfs, so that a guest can write
# anywhere and the machine sees none of it. Kernel argument: rig_settings=FILE (shell variables, written by rig.py).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
set -e

if [ "${1:-}" != inside ]; then
    mount -t proc proc /proc
    . "$rig_settings"
    echo "the kernel of host $host runs"
    insmod "$modules/kernel/fs/overlayfs/overlay.ko"
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/packages /mnt/upper /mnt/work /mnt/root
    mount -t hostfs -o "ro,$packages" none /mnt/packages
    mount -t overlay -o "lowerdir=/mnt/packages:/,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
    cd /mnt/root
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t devtmpfs devtmpfs dev
    mkdir -p dev/pts dev/shm
    mount -t devpts devpts dev/pts
    for folder in dev/shm run mnt; do mount -t tmpfs tmpfs "$folder"; done
    chmod 1777 dev/shm tmp
    # mounted by itself, for what is changed in the checkout while the guests are up: an overlay would not notice
    mkdir -p ".$checkout"
    mount -t hostfs -o "ro,$checkout" none ".$checkout"
    exec chroot . "$0" inside
fi

. "$rig_settings"
# /root is 0700 on the machine; here, in the guest's own layer, anybody may pass through it to checkout and interpreter
passages
mkdir -p /lib/modules /mnt/net /run/lock /run/rpcbind
ln -s "$modules" "/lib/modules/$(uname -r)"
hostname "host$host"
for number in 1 2 3 4; do
    echo "u$number:x:2000$number:2000$number::/home/u$number:/bin/sh" >>/etc/passwd
    echo "u$number:x:2000$number:" >>/etc/group
    install -d -o "u$number" -g "u$number" "/home/u$number"
done
echo "team:x:20100:u1,u2,u3" >>/etc/group
# accounts that a package makes when it is installed
for name in _rpc statd mfs; do
    grep -q "^$name:" /etc/passwd || echo "$name:x:987:987::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
    grep -q "^$name:" /etc/group || echo "$name:x:987:" >>/etc/group
done
ulimit -n 65536
ip link set lo up
ip address add "$address/24" dev vec0
ip link set vec0 up
while :; do "$python" -I "$calls" || sleep 1; done
