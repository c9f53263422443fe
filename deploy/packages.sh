# Sourced by the scripts that set a machine up. Debian 12 is what we test on; elsewhere the names are told.
# shellcheck shell=bash

# need PACKAGE=COMMAND…: installs the packages whose command is missing. A command with a `/` is a path.
need() {
    local pair package command missing=()
    for pair in "$@"; do
        package=${pair%%=*} command=${pair#*=}
        if [[ $command == /* ]]; then [[ -e $command ]] || missing+=("$package"); continue; fi
        PATH=$PATH:/usr/sbin:/sbin command -v "$command" > /dev/null || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ! command -v apt-get > /dev/null; then
        echo "error: this machine has no apt-get; install what Debian calls: ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}" >&2
    as_root apt-get -qq update < /dev/null
    # a program is wanted, not the service that its package would start
    local policy=/usr/sbin/policy-rc.d ours='' status=0
    if [[ ! -e $policy ]]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" > /dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
        < /dev/null > /dev/null || status=$?
    [[ -z $ours ]] || as_root rm -f "$policy"
    for package in docker-registry openssh-server; do
        # nor at the next boot
        if [[ " ${missing[*]} " == *" $package "* && -d /run/systemd/system ]]; then
            as_root systemctl disable --quiet "${package/openssh-server/ssh}" || true
        fi
    done
    return "$status"
}

# Runs a command as root, through sudo where we are not.
as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo "$@"; fi
}

# Finds cargo where rustup puts it, also in a shell that has not read the profile.
need_cargo() {
    command -v cargo > /dev/null || PATH=$PATH:$HOME/.cargo/bin
    if ! command -v cargo > /dev/null; then
        echo "error: no cargo; install Rust 1.95 or newer from https://rustup.rs" >&2
        return 1
    fi
}

# What a build needs beside Rust: a linker and a C compiler (ring and zstd).
build_packages=(gcc=gcc libc6-dev=/usr/include/stdio.h)
# What a host that runs containers needs.
host_packages=(nftables=nft)
# What the tests use: independent tools that make images, a registry, peers of our runtime, a client of ports, git, a
# server that it reaches through ssh, signatures of commits, and a file system that tells of no changes.
test_packages=(
    busybox-static=busybox docker-registry=docker-registry skopeo=skopeo umoci=umoci buildah=buildah crun=crun runc=runc jq=jq
    curl=curl python3=python3 iproute2=ip attr=setfattr procps=ps util-linux=nsenter git=git
    openssh-client=ssh-keygen openssh-server=/usr/sbin/sshd gnupg=gpg-agent bindfs=bindfs
    wireguard-go=wireguard-go wireguard-tools=wg
)
