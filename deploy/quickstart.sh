#!/bin/bash
# From a clean clone to a running stack: installs what is missing, builds rswarm, makes an image from Debian's
# busybox-static, and brings examples/compose/hello.yaml up. Words given to this script go to every call of rswarm
# (`deploy/quickstart.sh --data-root DIR --run-root DIR`). RSWARM_BIN names a binary that is already built.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh
step() { printf '\n== %s\n' "$*" >&2; }

step "packages"
need "${host_packages[@]}" busybox-static=busybox curl=curl
if [[ -z ${RSWARM_BIN:-} ]]; then
    step "build (a few minutes the first time)"
    need "${build_packages[@]}"
    need_cargo
    cargo build --release --locked -p cli
    RSWARM_BIN=${CARGO_TARGET_DIR:-target}/release/rswarm
fi
rswarm=("$RSWARM_BIN" "$@")
[[ $EUID == 0 ]] || rswarm=(sudo --preserve-env=HELLO_PORT "${rswarm[@]}")
port=${HELLO_PORT:-8080}

step "image: busybox:1.35, made from Debian's busybox-static"
# `rswarm up` starts a daemon where none runs; here the image comes first
if ! "${rswarm[@]}" info > /dev/null 2>&1; then
    log=${TMPDIR:-/tmp}/rswarm-daemon.log
    echo "starting the daemon (its log: $log)" >&2
    setsid "${rswarm[@]}" daemon > "$log" 2>&1 < /dev/null &
    for _ in $(seq 100); do "${rswarm[@]}" info > /dev/null 2>&1 && break; sleep 0.1; done
    "${rswarm[@]}" info > /dev/null || { tail "$log" >&2; exit 1; }
fi
if ! "${rswarm[@]}" image inspect busybox:1.35 > /dev/null 2>&1; then
    deploy/rootfs.sh | "${rswarm[@]}" image import - busybox:1.35
fi

step "rswarm up -f examples/compose/hello.yaml"
"${rswarm[@]}" up -f examples/compose/hello.yaml

step "rswarm ps"
"${rswarm[@]}" ps

step "curl http://127.0.0.1:$port/     from outside, through the published port"
curl --silent --show-error --fail --retry 5 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$port/"

step "rswarm logs visitor               from inside, by name"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    seen=$("${rswarm[@]}" logs -p hello --tail 3 visitor 2>&1) || true
    [[ $seen == *Hello* ]] && break
    sleep 0.5
done
printf '%s\n' "$seen"
[[ $seen == *Hello* ]] || { echo "error: the visitor did not reach the other service by its name" >&2; exit 1; }

step "It runs. Look around, then take it down"
cat >&2 <<TEXT
    ${rswarm[*]} ps
    ${rswarm[*]} logs --help
    ${rswarm[*]} down -f examples/compose/hello.yaml
The daemon goes on by itself (\`${rswarm[*]} info\` shows its PID; \`kill\` that to end it).
TEXT
