#!/bin/bash
# Boots Debian's own kernel in a virtual machine, with one version of cgroups only, and runs tests in there. This is how
# a machine that has version 1 tests version 2, and the other way round. Needs root for nothing but to install packages.
#
#     tests/vm/run.sh                       the short list, under version 2
#     tests/vm/run.sh --cgroup v1           the same under version 1
#     tests/vm/run.sh escape single_host    only these suites; `guest.sh` says which there are
#     tests/vm/run.sh single_host=volumes   a suite's tests whose name has this word; several are joined by commas
#     tests/vm/run.sh --kernel FILE.deb     another kernel: a Debian package of one
#
# The short list takes some five minutes in the machine, on two busy cores, and as much as it takes to build.
# RSWARM_VM_ACCEL=kvm is many times faster where it works; the default, tcg, works everywhere. RSWARM_VM_TIMEOUT is in
# seconds, RSWARM_BIN names a binary that is built already. The exit code is 0 only if every suite ran to its end and passed.
set -euo pipefail
cd "$(dirname "$0")/../.."
repo=$PWD
# shellcheck source=deploy/packages.sh
source deploy/packages.sh
need "${build_packages[@]}" "${host_packages[@]}" "${test_packages[@]}" binutils=strip cpio=cpio e2fsprogs=mke2fs \
    kmod=depmod qemu-system-x86=qemu-system-x86_64
need_cargo

cgroup=v2 package='' suites=()
while (($#)); do
    case $1 in
        --cgroup) cgroup=$2; shift ;;
        --kernel) package=$(realpath "$2"); shift ;;
        -*) echo "error: no flag $1; the head of $0 says what there is" >&2; exit 2 ;;
        *) suites+=("$1") ;;
    esac
    shift
done
[[ $cgroup == v1 || $cgroup == v2 ]] || { echo "error: --cgroup is v1 or v2, not $cgroup" >&2; exit 2; }
# emulation makes everything ten times slower, so not all there is
((${#suites[@]})) || suites=(unit oci engine stack)

target=${CARGO_TARGET_DIR:-$repo/target}
cache=$target/vm
mkdir -p "$cache"
work=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The kernel: unpacked once per package, installed nowhere.
if [[ -z $package ]]; then
    # shellcheck disable=SC2012 # names of Debian packages hold no surprises
    package=$(ls -t "$cache"/linux-image-*.deb 2> /dev/null | head -1 || true)
fi
if [[ -z $package ]]; then
    name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p' | head -1)
    (cd "$cache" && apt-get -qq download "$name" 2> /dev/null)
    package=$(echo "$cache"/linux-image-*.deb)
fi
kernel=$cache/$(basename "$package" .deb)
if [[ ! -e $kernel/done ]]; then
    rm -rf "$kernel"
    dpkg-deb -x "$package" "$kernel"
    release=$(basename "$kernel"/lib/modules/*)
    depmod -b "$kernel" "$release"
    touch "$kernel/done"
fi
release=$(basename "$kernel"/lib/modules/*)

# The programs: what cargo has built, found by what cargo says about it.
if [[ -z ${RSWARM_BIN:-} ]]; then
    cargo build --locked -p cli
    RSWARM_BIN=$target/debug/rswarm
fi
programs=$work/programs
touch "$programs"
[[ ${suites[*]} == stack ]] || cargo test --locked --no-run --message-format=json -p runtime -p overlay-net -p e2e |
    jq -r 'select(.reason == "compiler-artifact" and .executable != null)
        | [.target.name, .target.kind[0], .executable] | @tsv' > "$programs"

# A file system with these programs and all that they load, at the places where they look for it.
root=$work/root
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,run,tmp,root,etc,vm,var/tmp,var/lib} "$root$repo"
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
add() { # FILE [PLACE]: a program and its libraries
    local place=$root${2:-$1} library
    mkdir -p "$(dirname "$place")"
    [[ -L $place ]] && rm "$place"
    cp -L "$1" "$place"
    for library in $(ldd "$1" 2> /dev/null | grep -o '/[^ ]*' || true); do
        [[ -e $root$library ]] || install -D -m 0755 "$(realpath "$library")" "$root$library"
    done
}
busybox=$(command -v busybox)
add "$busybox" /bin/busybox
for applet in $("$busybox" --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
for tool in bash bridge crun curl ip modprobe mount mountpoint nft nsenter python3 runc setfattr tar umount; do
    path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$tool" || true)
    [[ -n $path ]] || continue
    # what busybox calls by the same name is not it
    rm -f "$root/bin/$tool"
    add "$path"
done
while IFS=$'\t' read -r name kind path; do
    case $kind in
        test | lib) add "$path" "/vm/$name" && strip -g "$root/vm/$name" ;;
        bin) add "$path" && strip -g "$root$path" ;;
    esac
done < "$programs"
add "$RSWARM_BIN" /usr/bin/rswarm && strip -g "$root/usr/bin/rswarm"
cp -r deploy examples "$root$repo/"
cp tests/vm/guest.sh tests/vm/stack.sh "$root/vm/"
cp -r "$kernel/lib/modules" "$root/lib/"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
printf '127.0.0.1 localhost\n' > "$root/etc/hosts"
printf 'cgroup=%s\nsuites="%s"\nrepo=%q\n' "$cgroup" "${suites[*]}" "$repo" > "$root/vm/settings"
size=$(($(du -sm "$root" | cut -f1) + 700))
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$work/disk" "${size}M" > /dev/null

# A first stage that finds the disk.
stage=$work/stage
mkdir -p "$stage"/{bin,dev,proc,root}
cp "$busybox" "$stage/bin/busybox"
# names with `_` and `-` are the same to the kernel, so ask modprobe what to load
for module in virtio_pci virtio_blk ext4; do
    modprobe -d "$kernel" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' > "$work/modules"
while read -r file; do cp "$file" "$stage/"; basename "$file"; done < "$work/modules" > "$stage/order"
cat > "$stage/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /order); do /bin/busybox insmod /$module; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
exec /bin/busybox switch_root /root /bin/bash /vm/guest.sh
INIT
chmod 0755 "$stage/init"
(cd "$stage" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd"

log=$cache/$cgroup.log
cpu=max accel=${RSWARM_VM_ACCEL:-tcg}
[[ $accel != kvm ]] || cpu=host
[[ $accel != tcg ]] || accel=tcg,thread=multi
# No timer check: a busy host makes an emulated timer look broken. A network card would only tempt the tests
timeout "${RSWARM_VM_TIMEOUT:-600}" qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -smp 2 -m 2048 -nographic -no-reboot \
    -nic none -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 loglevel=3 mitigations=off no_timer_check nowatchdog" \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" < /dev/null | tee "$log" || true

# the console ends lines with carriage returns
if grep -q '^vm: all passed' "$log"; then
    exit 0
fi
echo "error: the virtual machine did not say that all passed; its console: $log" >&2
exit 1
