#!/bin/bash
# The first process of the virtual machine: mounts what a distribution mounts, runs the suites, says how they ended on
# the console, and switches the machine off.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root TMPDIR=/var/tmp RUST_BACKTRACE=1
cgroup='' suites='' repo=''
# shellcheck source=/dev/null
source /vm/settings

mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount --make-rshared /
ip link set lo up
# one after the other as they are asked for is what a real host does too, but it takes time out of the tests
modprobe -a overlay veth bridge br_netfilter nf_tables nft_chain_nat nft_masq nft_ct nft_fib_inet wireguard vxlan tun 2> /dev/null

# As systemd leaves it: nothing but kernel threads in the root.
if [[ $cgroup == v2 ]]; then
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    mkdir /sys/fs/cgroup/tests.slice
    echo 0 > /sys/fs/cgroup/tests.slice/cgroup.procs
else
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    # cpu and cpuacct share a hierarchy, as with systemd, so that names with commas are tried
    for controllers in cpu,cpuacct cpuset memory devices freezer blkio pids hugetlb; do
        mkdir "/sys/fs/cgroup/$controllers"
        mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers" || rmdir "/sys/fs/cgroup/$controllers"
    done
    ln -s cpu,cpuacct /sys/fs/cgroup/cpu
    ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
fi
echo "vm: Linux $(uname -r), cgroup $cgroup, $(cut -d. -f1 /proc/uptime) s after power on"

# SUITE WORDS…: runs a test program of the workspace with words for libtest.
program() {
    local name=$1
    shift
    (cd "$repo" && RSWARM_BIN=/usr/bin/rswarm "/vm/$name" --test-threads=3 "$@")
}

# Storms of containers and of output: they are about time, which is not to be had in emulation.
slow=(--skip a_hundred_at_once --skip killed_at_any_instant --skip a_slow_reader)

failed=()
for suite in $suites; do
    name=${suite%%=*} only=()
    [[ $suite != *=* ]] || IFS=, read -ra only <<< "${suite#*=}"
    begun=$SECONDS
    echo "vm: suite $suite"
    case $name in
        unit) program runtime "${only[@]:-container::}" ;;
        oci | escape) program "$name" "${only[@]}" ;;
        engine) program engine "${only[@]:-built_in::}" "${slow[@]}" ;;
        # the other runtimes show whether a failure is ours
        peers) program engine crun:: runc:: "${slow[@]}" ;;
        # networks, and the mesh over the kernel's WireGuard
        overlay) program host --show-output "${only[@]:-hosts::}" wire:: ;;
        userspace) RSWARM_DATA_PATH=userspace program host --show-output "${only[@]:-hosts::}" ;;
        single_host) program single_host "${only[@]}" ;;
        stack) /vm/stack.sh "$repo" ;;
        *) echo "no suite $name"; false ;;
    esac || failed+=("$suite")
    echo "vm: $suite took $((SECONDS - begun)) s"
done
# the console is slow: let it say everything
if ((${#failed[@]})); then echo "vm: failed: ${failed[*]}"; else echo "vm: all passed"; fi
sync
sleep 1
echo o > /proc/sysrq-trigger
sleep 60
