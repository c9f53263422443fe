#!/bin/bash
# Makes a small root file system from Debian's busybox-static, as a tar on stdout:
#     deploy/rootfs.sh | rswarm image import - busybox:1.35
set -euo pipefail
busybox=$(command -v busybox) || { echo "error: no busybox; apt-get install busybox-static" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,usr,var/www}
chmod 0755 "$root" && chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
ln -s ../bin "$root/usr/bin"
printf 'root:x:0:0:root:/root:/bin/sh\nwww:x:82:82:www:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n' \
    > "$root/etc/passwd"
printf 'root:x:0:\nwww:x:82:\nstaff:x:50:www\nnogroup:x:65534:\n' > "$root/etc/group"
tar -C "$root" --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -c .
