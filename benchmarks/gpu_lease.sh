#!/usr/bin/env bash
# Everything that a short lease of a GPU must tell, in one call of at most 540 s.
#
#   benchmarks/gpu_lease.sh --make FILE              on any machine: writes the CPU's numbers to FILE (minutes)
#   benchmarks/gpu_lease.sh FILE OUT [WHEEL ...]     on the leased machine; wheels are installed without network
#   LEASE="--tiny --pretended" LEASE_TIMES=4 benchmarks/gpu_lease.sh FILE OUT      without a GPU: shows that it starts
#
# It needs PyTorch, the wheel of the project and what that depends on, but no av, dlib or network. Every line appears at
# once and is also in OUT/lease.log. A part that fails or exceeds its own limit is named, and the next one begins.
set -u
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
python=${PYTHON:-python3}
options=${LEASE:-}
times=${LEASE_TIMES:-1} # all limits are multiplied by this, for a slow machine
total=$((540 * times))
export PYTHONUNBUFFERED=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ "${1:-}" = --make ]; then
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
    # shellcheck disable=SC2086
    "$python" "$root/benchmarks/lease/run.py" make --device cpu --folder "$work" --reference "$2" ${options//--pretended/}
    exit
fi
reference=$1 out=$2
shift 2
mkdir -p "$out"
log=$out/lease.log
: >"$log"
say() { echo "$*" | tee -a "$log"; }

if [ $# -gt 0 ]; then
    timeout 60 "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$@" 2>&1 | tee -a "$log"
    export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
else
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
fi

failed=0
part() { # seconds, name of the part, its arguments
    local limit=$(($1 * times)) left=$((total - SECONDS - 5)) began=$SECONDS
    shift
    [ "$limit" -gt "$left" ] && limit=$left
    if [ "$limit" -lt 10 ]; then
        say "== $*: left out, $left s are left"
        failed=$((failed + 1))
        return
    fi
    say "== $* (at most $limit s)"
    # shellcheck disable=SC2086
    timeout --kill-after=5 "$limit" "$python" "$root/benchmarks/lease/run.py" "$@" --seconds "$limit" --folder "$work" \
        --reference "$reference" $options 2>&1 | tee -a "$log"
    local code=${PIPESTATUS[0]}
    [ "$code" -eq 124 ] && say "== $*: stopped at its limit"
    [ "$code" -ne 0 ] && failed=$((failed + 1))
    say "== $*: $((SECONDS - began)) s, exit status $code"
}

part 80 correctness
part 75 clips eager
part 25 stages dawn:lfg
part 25 stages dawn:a2v-1
part 40 stages dawn:a2v-2
part 20 stages dawn:pbnet
part 20 stages dit-head:vqgan-face
part 20 stages dit-head:vqgan-masked
part 20 stages dit-head:dit
part 25 stages diffspeaker:diffspeaker
part 35 scoring
part 40 profiles
part 100 clips compiled
say "$failed parts failed or were left out; $SECONDS s in all"
[ "$failed" -eq 0 ]
