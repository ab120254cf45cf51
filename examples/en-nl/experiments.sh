#!/usr/bin/env bash
# The students compared in docs/log.md: references only, SeqKD, KL, LLMR and KETCHUP.
#
# experiments.sh starts      corpus, untrained student, teacher cache, teacher text
# experiments.sh kl          KL on cached logits, three seeds
# experiments.sh others      references only, and SeqKD
# experiments.sh tune        short trials of KETCHUP from the first KL student, judged on dev
# experiments.sh ketchup     LLMR and KETCHUP from the KL students; or the runs named: '4:0 4:1 4:2'
# experiments.sh scores      texts and scores on test, for every student there is
#
# Run it again and what is done is not done twice; a killed run goes on from its checkpoint.
set -euo pipefail
cd "$(dirname "$0")"

run() { local stage=$1; shift; ketchup "$stage" --config experiments.toml "$@"; }

supervised() { # name, then what the student learns from
    local name=$1; shift
    run distill --name "$name" "$@" --set updates=1500 \
        --set optimizer.name=adafactor --set optimizer.learning_rate=1e-2 --set optimizer.warmup=50
}

reinforced() { # K, seed, then anything
    local k=$1 seed=$2; shift 2
    run distill --k "$k" --from "kl-s$seed" --name "k$k-s$seed" --set seed="$seed" "$@"
}

case ${1:-} in
starts)
    run corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz --name en-nl
    run shrink --name small
    run cache-teacher --name en-nl-full-cache
    run seqkd --name en-nl-full-seqkd
    ;;
kl)
    for seed in 0 1 2; do
        supervised "kl-s$seed" --objective kl --set dropout=0 --set seed="$seed"
    done
    ;;
tune)
    trial() { reinforced "$1" 0 --name "$2" --set updates=60 --set validation.every=20 "${@:3}"; }
    trial 4 t-top2-2e4 --set rollout.top_k=2 --set optimizer.learning_rate=2e-4
    trial 4 t-top2-1e4 --set rollout.top_k=2 --set optimizer.learning_rate=1e-4
    trial 4 t-all-1e4 --set optimizer.learning_rate=1e-4
    trial 4 t-cool-2e4 --set rollout.temperature=0.5 --set optimizer.learning_rate=2e-4
    trial 4 t-top2-4e4 --set rollout.top_k=2 --set optimizer.learning_rate=4e-4
    trial 1 t-k1-top2-2e4 --set rollout.top_k=2 --set optimizer.learning_rate=2e-4
    trial 4 t-max --set rollout.top_k=2 --set optimizer.learning_rate=2e-4 --set objective.value=max
    trial 4 t-loo --set rollout.top_k=2 --set optimizer.learning_rate=2e-4 --set objective.baseline=leave-one-out
    ;;
ketchup)
    for run in ${2:-1:0 2:0 4:0 8:0 1:1 1:2}; do # K:seed
        reinforced "${run%:*}" "${run#*:}" --set updates=120 --set optimizer.warmup=10 \
            --set optimizer.learning_rate=2e-4 --set rollout.top_k=2 --set validation.every=20
    done
    ;;
scores)
    for model in ${2:-teacher references seqkd kl-s{0,1,2} k1-s{0,1,2} k2-s0 k4-s{0,1,2} k8-s0}; do
        run generate --model "$model" --name "$model-test"
        run score --generations "$model-test" --name "$model-scores"
    done
    ;;
others)
    run train --name references
    supervised seqkd --objective nll --set objective.prefixes=teacher --set dropout=0
    ;;
esac
