#!/usr/bin/env bash
# Compiles the harnesses for libFuzzer into build/fuzz, what has changed only; prints nothing when all is well.
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=build/fuzz
flags="-DPOOLER_DEBUG -g -O1 -std=gnu11 -pthread -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
cc=${FUZZ_CC:-$(command -v clang || compgen -c clang- | grep -E '^clang-[0-9]+$' | sort -V | tail -1)}
mkdir -p "$out"
compile() { # SOURCE
    local object
    object=$out/$(echo "${1%.c}" | tr / -).o
    if [ ! -e "$object" ] || [ -n "$(find pooler/core tests/fuzz/harness -name '*.[ch]' ! -name _core.c ! -path "*/core/*/*.c" \
        -newer "$object" -print -quit)" ] || [ "$1" -nt "$object" ] || [ pooler/core/relay/loop.c -nt "$object" ]; then
        $cc $flags -Ipooler/core -Itests/fuzz/harness -c "$1" -o "$object"
    fi
}
export out flags cc
export -f compile
printf '%s\n' tests/fuzz/harness/*.c pooler/core/*/*.c | grep -v core/binding/_core.c | xargs -P 2 -I{} bash -c 'compile {}'
# An archive gives what is missing only: world.c has the loop of the relay itself.
rm -f "$out/core.a"
ar rcs "$out/core.a" "$out"/pooler-core-*.o
link() { # NAME SOURCES...
    local name=$1 objects=()
    while shift && [ $# -gt 0 ]; do objects+=("$out/tests-fuzz-harness-$1.o"); done
    $cc -pthread -fsanitize=fuzzer,address,undefined "${objects[@]}" "$out/core.a" -lssl -lcrypto -o "$out/$name"
}
while read -r name sources; do
    # shellcheck disable=SC2086  # a list of words is meant
    link "$name" $sources
done <tests/fuzz/harness/programs
