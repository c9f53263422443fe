#!/bin/bash
# Installs rswarm on this machine and starts it at every boot.
#     deploy/install.sh                      builds it first (needs Rust)
#     deploy/install.sh --binary FILE        takes one that is built
#     deploy/install.sh --no-start           installs only
# Running it again upgrades: containers go on running while the daemon is exchanged.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

binary='' start=yes
while (($#)); do
    case $1 in
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --no-start) start=no; shift ;;
    *) echo "usage: deploy/install.sh [--binary FILE] [--no-start]" >&2; exit 2 ;;
    esac
done

need "${host_packages[@]}"
if [[ -z $binary ]]; then
    need "${build_packages[@]}"
    need_cargo
    cargo build --release --locked -p cli
    binary=${CARGO_TARGET_DIR:-target}/release/rswarm
fi
"$binary" --version > /dev/null

# a new file under the old name: the running daemon, shims and netd keep the one they were started from
as_root install -D -m 0755 "$binary" /usr/local/bin/.rswarm.new
as_root mv -f /usr/local/bin/.rswarm.new /usr/local/bin/rswarm
as_root install -D -m 0644 README.md /usr/local/share/doc/rswarm/README.md
echo "installed /usr/local/bin/rswarm: $(/usr/local/bin/rswarm --version)"

if [[ ! -d /run/systemd/system ]]; then
    echo "no systemd here: start it with \`rswarm daemon\`, or let \`rswarm up\` do that"
    exit 0
fi
as_root install -D -m 0644 deploy/rswarm.service /etc/systemd/system/rswarm.service
as_root systemctl daemon-reload
as_root systemctl enable --quiet rswarm.service
if [[ $start == yes ]]; then
    as_root systemctl restart rswarm.service
    for _ in $(seq 100); do as_root rswarm info > /dev/null 2>&1 && break; sleep 0.1; done
    as_root rswarm info > /dev/null || { as_root journalctl -u rswarm.service -n 20 --no-pager >&2; exit 1; }
    echo "running: systemctl status rswarm"
fi
