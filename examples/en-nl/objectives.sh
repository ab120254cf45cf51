#!/usr/bin/env bash
# Every objective on the same student, data and budget: the second table of docs/log.md.
#
# pipeline.sh first: all start from its KL student, and share its corpus and its cache.
#
# objectives.sh starts               the teacher's text for the 12,000 sentences of that cache
# objectives.sh rate NAME...         four updates of each, to see what an update costs
# objectives.sh try NAME RATE        one run of seed 0, judged on dev
# objectives.sh seed NAME RATE SEED  the same with another seed
# objectives.sh test RUN...          texts and scores on test
#
# The updates below take some three minutes of one core a run, three validations included; the table of
# 2026-11-22 has more for those that write text of their own. CPU seconds and the largest resident memory
# of a run are appended to runs/costs.tsv (needs GNU time).
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1

# updates in the budget, which family of settings, then what distinguishes the run
objectives=(
    "nll           320 data  --objective nll --set objective.prefixes=teacher"
    "kl            280 data  --objective kl"
    "skew_kl       280 data  --objective skew_kl"
    "skew_rkl      280 data  --objective skew_rkl"
    "distillm       65 data  --objective skew_kl --preset distillm"
    "adaptive_kl   280 data  --objective adaptive_kl"
    "sinkd         140 data  --objective sinkd --preset released"
    "layer_match   200 data  --objective layer_match --preset paper"
    "okd           120 data  --objective okd"
    "bd_kd         120 data  --objective bd_kd"
    "reverse_kl     44 text  --objective reverse_kl"
    "engine         50 text  --objective engine"
    "js             36 text  --objective js"
    "tvd            40 text  --objective tvd"
    "gkd            40 text  --objective gkd"
    "vopd           26 text  --objective vopd"
    "minillm        22 text  --objective minillm"
    "dpkd           96 text  --objective dpkd"
    "llmr           26 text  --objective llmr"
    "ketchup        26 text  --objective ketchup"
    "ketchup-max    60 text  --objective ketchup --set objective.value=max"
    "ketchup-loo    60 text  --objective ketchup --set objective.baseline=leave-one-out"
    "ketchup-exact  60 text  --objective ketchup --set objective.immediate=exact"
)

# name, rate, seed, name of the run, then anything
distil() {
    local name=$1 rate=$2 seed=$3 run=$4 row
    row=$(printf '%s\n' "${objectives[@]}" | grep "^$name ")
    read -r _ updates family arguments <<< "$row"
    local settings="--set optimizer.name=adafactor --set optimizer.warmup=20"
    if [ "$family" = text ]; then settings="--set optimizer.warmup=5"; fi
    # shellcheck disable=SC2086  # arguments are words of the table
    /usr/bin/time -a -o runs/costs.tsv -f "$run\t%U\t%S\t%M" \
        ketchup distill --config objectives.toml --name "$run" --set seed="$seed" \
        $arguments $settings --set optimizer.learning_rate="$rate" --set dropout=0 \
        --set updates="$updates" --set validation.every="$((updates / 2))" "${@:5}"
}

case ${1:-} in
starts)
    ketchup seqkd --config objectives.toml
    ;;
rate)
    for name in "${@:2}"; do
        distil "$name" 1e-5 0 "rate-$name" --set updates=4 --set validation.every=4 \
            --set validation.examples=8
    done
    ;;
try | seed) distil "$2" "$3" "${4:-0}" "$2-$3-s${4:-0}" "${@:5}" ;;
test)
    for run in "${@:2}"; do
        ketchup generate --config objectives.toml --model "$run" --name "$run-test"
        ketchup score --config objectives.toml --generations "$run-test" --name "$run-scores"
    done
    ;;
esac
