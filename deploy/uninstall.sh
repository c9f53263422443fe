#!/bin/bash
# Removes rswarm from this machine.
#     deploy/uninstall.sh            stops every container, keeps images, volumes and the cluster's state
#     deploy/uninstall.sh --purge    removes those too
set -euo pipefail
# shellcheck source=deploy/packages.sh
source "$(dirname "$0")/packages.sh"

purge=no
case ${1:-} in
'') ;;
--purge) purge=yes ;;
*) echo "usage: deploy/uninstall.sh [--purge]" >&2; exit 2 ;;
esac

if as_root rswarm info > /dev/null 2>&1; then
    for stack in $(as_root rswarm ls -q); do as_root rswarm down -p "$stack"; done
    mapfile -t containers < <(as_root rswarm ps -aq)
    ((${#containers[@]})) && as_root rswarm rm -f "${containers[@]}"
fi
if [[ -d /run/systemd/system ]]; then
    as_root systemctl disable --now --quiet rswarm.service 2> /dev/null || true
    as_root rm -f /etc/systemd/system/rswarm.service
    as_root systemctl daemon-reload
fi
# what is left are the daemon that `rswarm up` started and the network process: both run from our binary
for pid in $(pgrep -f '^/usr/local/bin/rswarm( |$)' || true); do as_root kill "$pid" 2> /dev/null || true; done
as_root rm -rf /usr/local/bin/rswarm /usr/local/share/doc/rswarm /run/rswarm
if [[ $purge == yes ]]; then as_root rm -rf /var/lib/rswarm; else echo "kept: /var/lib/rswarm (--purge removes it)"; fi
echo "removed"
