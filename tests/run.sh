#!/bin/bash
# Every test of the workspace: installs what they need, builds once, runs all, counts what ran. As root, or with sudo.
# Words given to this script go to the test programs: `tests/run.sh volumes` runs what has `volumes` in its name.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/packages.sh
source deploy/packages.sh

need "${build_packages[@]}" "${host_packages[@]}" "${test_packages[@]}"
need_cargo
target=${CARGO_TARGET_DIR:-$PWD/target}
if [[ -z ${RSWARM_BIN:-} ]]; then
    # everything at once: what `cargo test` then needs is the same, so nothing is built twice with other features
    cargo build --workspace --all-targets --locked
    export RSWARM_BIN=$target/debug/rswarm
fi
# containers need root: cargo builds as who we are and only runs the test programs through sudo
[[ $EUID == 0 ]] || export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E"

mkdir -p "$target"
log=$target/test.log
start=$SECONDS
status=0
# --show-output keeps what passing tests said, so that a skipped one is counted and named
cargo test --workspace --locked --no-fail-fast -- --show-output "$@" > >(tee "$log" |
    grep --line-buffered -E '^(test |test result|error|warning: unused|SKIPPED|     Running|   Doc-tests)' || true) 2>&1 || status=$?
wait

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
skipped=$(grep -c '^SKIPPED' "$log" || true)
if ((status)); then
    echo
    awk '/^failures:$/ { show = 1 } /^test result:/ { show = 0 } show' "$log"
    grep -E '^(error|note: process)' "$log" || true
    # once more, where logs of daemons do not hide it
    awk '/^failures:$/ { show = 1 } /^test result:/ { show = 0 } show && (/ panicked at / || said) { print; said = !said }' "$log"
fi
echo
grep '^SKIPPED' "$log" | sort | uniq -c || true
echo "tests: $passed passed, $failed failed, $skipped skipped in $((SECONDS - start)) s (everything they said: $log)"
exit "$status"
