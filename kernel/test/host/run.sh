#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2054
# Builds and runs every test/host/test_*.c under ASan and UBSan; the last line adds the counts up. Run from kernel/.
set -u
out=${1:-build/host}
mkdir -p "$out"
passed=0 failed=0
flags=(-std=gnu11 -g -O1 -Iinclude -Itest/host -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-strict-aliasing
       -Wall -Wextra -Wno-builtin-declaration-mismatch -D_GNU_SOURCE)
for test in test/host/test_*.c; do
    name=$(basename "$test" .c)
    sources=$(sed -n 's|^// sources: ||p' "$test")
    extra=$(sed -n 's|^// flags: ||p' "$test")
    objects=()
    for source in $sources; do
        object=$out/$name.$(echo "$source" | tr / _).o
        # shellcheck disable=SC2086
        ${CC:-gcc} "${flags[@]}" -fno-builtin -include test/host/rename.h -include test/host/machine.h $extra -c "$source" -o "$object" || exit 1
        objects+=("$object")
    done
    # shellcheck disable=SC2086
    ${CC:-gcc} "${flags[@]}" -include test/host/machine.h $extra "$test" "${objects[@]}" -o "$out/$name" || exit 1
    log=$(ASAN_OPTIONS=detect_leaks=0 timeout 120 "$out/$name" 2>&1)
    status=$?
    last=$(tail -n 1 <<<"$log")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        [ "${BASH_REMATCH[2]}" = 0 ] || printf '%s: %s\n' "$name" "$log"
    else
        failed=$((failed + 1))
        printf '%s (status %d):\n%s\n' "$name" "$status" "$log"
    fi
done
# The file systems, on images: random work, kills, damage. Its lines say "NAME: N runs, M failed".
log=$(timeout 500 python3 test/host/fs/run.py --stress 6 --kill 40 --fuzz 60 --rough 60 2>&1)
while read -r runs bad; do
    passed=$((passed + runs - bad)) failed=$((failed + bad))
done < <(sed -n 's/^[a-z]*: \([0-9]*\) .*, \([0-9]*\) failed$/\1 \2/p' <<<"$log")
if [ "$(grep -c 'failed$' <<<"$log")" != 4 ] || grep -q '[1-9][0-9]* failed$' <<<"$log"; then
    failed=$((failed + 1))
    printf 'fs: %s\n' "$log"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
