#!/bin/sh
# First process of a test guest: mounts what every program expects, runs the script on the second disk with its output on
# the second serial line, writes its exit status to the third, and turns the machine off.
export PATH=/usr/bin:/usr/sbin HOME=/root LANG=C.UTF-8 TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=666,gid=5,mode=620 devpts /dev/pts
[ -c /dev/ptmx ] || ln -s pts/ptmx /dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
ln -sf /proc/self/fd /dev/fd
hostname guest
ip link set lo up
stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
setsid sh /dev/nvme1n1 </dev/null >/dev/ttyS1 2>&1
echo "exit $?" >/dev/ttyS2
sync
poweroff -f
