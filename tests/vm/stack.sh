#!/bin/bash
# A stack's whole life as a user sees it, on a machine that has nothing but rswarm: daemon, image, `up`, the published
# port, names, `exec`, limits as they are felt inside, counters, `pause`, a crash of the daemon, `down`, and nothing left.
set -uo pipefail
repo=$1
failures=0

check() { # WORDS COMMAND…: says whether the command did what the words claim
    local words=$1 said
    shift
    if said=$("$@" 2>&1); then echo "ok    $words"; else failures=$((failures + 1)); echo "FAIL  $words: $* said: $said"; fi
}
soon() { # COMMAND…: within a minute
    local end=$((SECONDS + 60)) said
    until said=$("$@"); do ((SECONDS < end)) || { echo "$said"; return 1; }; sleep 0.5; done
}
says() { # TEXT COMMAND…
    local text=$1 said
    shift
    said=$("$@" 2>&1)
    [[ $said == *"$text"* ]] || { echo "$said"; return 1; }
}
equal() { [[ $1 == "$2" ]] || { echo "$1 is not $2"; return 1; }; }
inside() { rswarm exec "$box" sh -c "$1"; }
# What version 1 calls FILE and version 2 calls FILE2, as the container itself sees it.
limit() { inside "cat /sys/fs/cgroup/$1 2>/dev/null || cat /sys/fs/cgroup/$2"; }
cgroups() { find /sys/fs/cgroup -mindepth 2 -type d -path '*/rswarm/*' ! -name shims | sort; }
links() { ip -o link | cut -d' ' -f2 | cut -d@ -f1 | grep -vx lo:; }
mounts() { cut -d' ' -f5 /proc/self/mountinfo | grep /rswarm/; }
none() { local left; left=$("$@"); [[ -z $left ]] || { echo "$left"; return 1; }; }

rswarm daemon > /run/daemon.log 2>&1 &
daemon=$!
soon rswarm version > /run/version 2>&1 || { cat /run/daemon.log; exit 1; }
"$repo/deploy/rootfs.sh" > /run/rootfs.tar
check "an image is imported" rswarm image import /run/rootfs.tar busybox:1.35

check "up brings a stack up" rswarm up -f "$repo/examples/compose/hello.yaml" --timeout 60
check "its port answers" soon says "Hello from rswarm" curl -s -m 5 http://127.0.0.1:8080/
check "one service finds the other by its name" soon says "web says Hello" rswarm logs -p hello visitor
visitor=$(rswarm ps -q -p hello | while read -r id; do
    [[ $(rswarm inspect --format '{{.Name}}' "$id") != *visitor* ]] || echo "$id"; done)
check "exec runs inside, and names resolve there" says "Hello from rswarm" rswarm exec "$visitor" wget -q -O - http://web/

cat > /run/limits.yaml << 'YAML'
name: limits
services:
  box:
    image: busybox:1.35
    command: sleep 100000
    init: true # takes away the dead of the tests below: each counts as a process until then
    stop_grace_period: 1s
    deploy:
      resources:
        limits: {cpus: "0.25", memory: 64M, pids: 20}
YAML
check "a stack with limits comes up" rswarm up -f /run/limits.yaml --timeout 120
box=$(rswarm ps -q -p limits)
check "memory: the kernel has it" says 67108864 limit memory.max memory/memory.limit_in_bytes
check "processes: the kernel has it" says 20 limit pids.max pids/pids.max
check "time: the kernel has it" says 25000 limit cpu.max cpu/cpu.cfs_quota_us
# shellcheck disable=SC2016 # the shell inside expands it
check "too many processes are refused" says "can't fork" inside 'for i in $(seq 40); do sleep 2 & done'
sleep 3
check "too much memory is a kill" says "code 137" inside 'tail /dev/zero; echo code $?'
# a quarter of a processor is five seconds of twenty
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
rswarm exec "$box" sh -c 'while :; do :; done' &
exec=$!
spinner() { # its process id on the host
    local folder
    for folder in /proc/[0-9]*; do
        [[ $(tr '\0' ' ' 2> /dev/null < "$folder/cmdline") != "sh -c while :; do :; done " ]] || echo "${folder#/proc/}"
    done | grep .
}
soon spinner > /run/spinner
spinner=$(spinner)
sleep 1
before=$(ticks "$spinner"); sleep 4; used=$(($(ticks "$spinner") - before))
check "time: a quarter of a processor and no more, $used of 400 ticks" test "$used" -gt 20 -a "$used" -lt 160
check "stats count it" says "64MiB" rswarm stats --no-stream "$box"
rswarm pause "$box" > /dev/null; before=$(ticks "$spinner"); sleep 1
check "pause stops time" equal "$before" "$(ticks "$spinner")"
rswarm unpause "$box" > /dev/null; sleep 1
check "unpause lets it go on" test "$(ticks "$spinner")" -gt "$before"

check "devices: the disk can't be opened" says "not permitted" inside 'mknod /disk b 254 0; head -c 1 /disk'
check "devices: /dev/null and /dev/zero can" inside 'head -c 1 /dev/zero > /dev/null'
check "the cgroup is read-only inside" says "Read-only" inside 'mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/pids/x'

kill -9 "$daemon"; wait "$daemon" 2> /dev/null
check "a crash of the daemon stops no container" kill -0 "$spinner"
rswarm daemon >> /run/daemon.log 2>&1 &
daemon=$!
soon rswarm version > /run/version 2>&1
check "the next daemon knows them" equal "$box" "$(rswarm ps -q -p limits)"

rswarm down -p limits > /run/down 2>&1 || cat /run/down
rswarm down -p hello > /run/down 2>&1 || cat /run/down
wait "$exec"
check "nothing runs" equal "" "$(rswarm ps -a -q)"
check "no cgroup is left" soon none cgroups
check "no link is left" soon none links
check "no mount is left" soon none mounts
kill "$daemon"; wait "$daemon"
((failures == 0)) || { echo "--- the daemon's log"; tail -40 /run/daemon.log; exit 1; }
