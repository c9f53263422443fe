#!/bin/bash
# Three nodes on one machine, to try a cluster: n1, n2 and n3, each a network namespace with a daemon of its own,
# joined by a bridge as 10.77.0.1, .2 and .3.
#
#     deploy/three-nodes.sh up             makes them
#     deploy/three-nodes.sh on n1 CMD …    runs a command on one; `rswarm` there is its daemon's
#     deploy/three-nodes.sh kill n1        its daemon dies; its containers go on
#     deploy/three-nodes.sh start n1       its daemon is started again
#     deploy/three-nodes.sh walk FILE      runs the sh blocks of a document, as they stand, in one shell
#     deploy/three-nodes.sh down           ends and removes all of it
#
# RSWARM_BIN names the binary (else the one that was built here, else that of PATH), LAB_DIR the folder of all that
# they keep, LAB_NAME the beginning of the names of namespaces and cgroups.
set -euo pipefail
self=$(realpath "$0")
dir=${LAB_DIR:-/var/tmp/rswarm-three-nodes} lab=${LAB_NAME:-rswarm}
nodes=(n1 n2 n3)
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
[[ $# -gt 0 ]] || { sed -n '2,/^set/{/^#/p}' "$self" >&2; exit 2; }
[[ $EUID == 0 ]] || fail "only root may make network namespaces"

rswarm=${RSWARM_BIN:-}
for built in release debug; do
    built=${CARGO_TARGET_DIR:-${self%/*}/../target}/$built/rswarm
    [[ -z $rswarm && -x $built ]] && rswarm=$built
done
rswarm=$(command -v "${rswarm:-rswarm}") || fail "there is no rswarm: cargo build --release -p cli"
rswarm=$(realpath "$rswarm")

is_node() { [[ " ${nodes[*]} " == *" $1 "* ]] || fail "\`$1\` is none of ${nodes[*]}"; }

start() {
    local node=$1 home=$dir/$1
    (
        # shellcheck disable=SC2016
        exec nsenter --net="/run/netns/$lab-$node" setsid unshare --uts \
            sh -c 'hostname "$0" && exec "$@"' "$node" "$rswarm" \
            --data-root "$home/data" --run-root "$home/run" --cgroup-parent "$lab-$node" daemon
    ) >> "$home/log" 2>&1 < /dev/null &
    echo $! > "$home/pid"
    for _ in $(seq 200); do on "$node" rswarm info > /dev/null 2>&1 && return; sleep 0.1; done
    tail "$home/log" >&2
    fail "the daemon of $node does not answer"
}

on() {
    is_node "$1"
    [[ -d $dir/$1 ]] || fail "there is no $1: deploy/three-nodes.sh up"
    nsenter --net="/run/netns/$lab-$1" \
        env RSWARM_HOST="unix://$dir/$1/run/rswarm.sock" PATH="$dir/bin:$PATH" "${@:2}"
}

up() {
    [[ ! -e $dir ]] || fail "they are there already ($dir): deploy/three-nodes.sh down"
    mkdir -p "$dir/bin"
    ln -s "$rswarm" "$dir/bin/rswarm"
    ip netns add "$lab-wire"
    ip -n "$lab-wire" link add wire type bridge
    ip -n "$lab-wire" link set wire up
    for node in "${nodes[@]}"; do
        mkdir -p "$dir/$node"
        ip netns add "$lab-$node"
        ip -n "$lab-$node" link set lo up
        ip -n "$lab-wire" link add "$node" type veth peer name eth0 netns "$lab-$node"
        ip -n "$lab-wire" link set "$node" master wire up
        ip -n "$lab-$node" address add "10.77.0.${node#n}/24" dev eth0
        ip -n "$lab-$node" link set eth0 up
        start "$node"
    done
}

# Processes whose words name our folder, or that are in a namespace or a control group of ours: daemons, netd, shims,
# containers.
ours() {
    local proc net
    for proc in /proc/[0-9]*; do
        [[ ${proc#/proc/} != "$$" && ${proc#/proc/} != "$BASHPID" ]] || continue
        net=$(stat -Lc %i "$proc/ns/net" 2> /dev/null) || continue
        if [[ " $1 " == *" $net "* ]] || grep -qs "/$lab-n" "$proc/cgroup" ||
            tr '\0' ' ' 2> /dev/null < "$proc/cmdline" | grep -qF "$dir/n"; then
            echo "${proc#/proc/}"
        fi
    done
}

down() {
    local node stack left nets=""
    for node in "${nodes[@]}"; do
        [[ -S $dir/$node/run/rswarm.sock ]] || continue
        for stack in $(on "$node" timeout 20 rswarm ls -a -q 2> /dev/null); do
            on "$node" timeout 60 rswarm down -v -p "$stack" > /dev/null 2>&1 || true
        done
    done
    for node in "${nodes[@]}" wire; do
        nets+=" $(stat -Lc %i "/run/netns/$lab-$node" 2> /dev/null || true)"
    done
    for _ in $(seq 20); do
        left=$(ours "$nets")
        [[ -n $left ]] || break
        # shellcheck disable=SC2086
        kill -9 $left 2> /dev/null || true
        sleep 0.1
    done
    awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r -n1 umount -l
    for node in "${nodes[@]}"; do
        find /sys/fs/cgroup -depth -type d -path "*/$lab-$node*" -exec rmdir {} + 2> /dev/null || true
    done
    for node in "${nodes[@]}" wire; do ip netns del "$lab-$node" 2> /dev/null || true; done
    rm -rf "$dir"
}

# What is between ```sh and ``` is one script.
walk() {
    local script
    script=$(awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$1")
    [[ -n $script ]] || fail "$1 has no sh block"
    cd "${self%/*}/.."
    bash -euxc "$script"
}

case $1 in
    up | down) "$1" ;;
    on) [[ $# -ge 3 ]] || fail "on NODE COMMAND …"; on "${@:2}" ;;
    start) is_node "${2:-}"; start "$2" ;;
    kill) is_node "${2:-}"; kill -9 "$(cat "$dir/$2/pid")" ;;
    walk) walk "${2:?which document?}" ;;
    *) fail "\`$1\` is none of up, on, kill, start, walk, down" ;;
esac
