#!/usr/bin/env bash
# Rare words and a student that fills in: data of both directions, raw -> bidirectional -> forward.
#
# pipeline.sh first: both kinds of student start from its KL student, and share its corpus.
#
# rare-words.sh [SEED]      of the students that fill in, 0 if not given
#
# Run it again and what is done is not done twice; a killed run goes on from its checkpoint. What came
# of it, and how long it took, is in docs/log.md.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1
seed=${1:-0}
stage=150 # updates; every schedule has three times as many

run() { local command=$1; shift; ketchup "$command" --config rare-words.toml "$@"; }

learn() { # student, what it reads (raw or the name of pseudo-targets), name, updates
    local from=(--pseudo-targets "$2")
    [ "$2" = raw ] && from=(--set objective.prefixes=data)
    run distill --student "$1" --objective cmlm "${from[@]}" --name "$3" --set updates="$4" \
        --set seed="$seed"
}

measure() { # model, name of its text, then how it writes
    local name=$2
    run generate --model "$1" --name "$name" "${@:3}"
    run score --generations "$name" --name "$name-scores" \
        --set 'metrics=["bleu","chrf","words","lexical"]' --set 'frequency_buckets=[1,5,20,100]'
}

# a student that fills in, with all weights of the one that writes from left to right
run shrink --teacher kl-student --set architecture=cmlm --name small-cmlm

# forward text, and the student of equal size on it, from left to right
run seqkd --name kd-forward
run distill --student kl-student --objective nll --set objective.prefixes=teacher \
    --set objective.label_smoothing=0.1 --pseudo-targets kd-forward --name ar-forward \
    --set updates=450

# the backward teacher: the same student, trained on the corpus changed over; text of both directions
run corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz \
    --prompt-field tgt --reference-field src --set 'languages=["nl","en"]' --name nl-en
run train --student kl-student --corpus nl-en --name backward-teacher
run seqkd --direction bidirectional --backward-teacher backward-teacher \
    --set examples=4000 --name kd-both
run rare-words --pseudo-targets kd-both --name kd-both-kept

# every schedule in as many updates
learn small-cmlm kd-forward "forward-s$seed" $((3 * stage))
learn small-cmlm raw "raw-s$seed" $stage
learn "raw-s$seed" kd-forward "raw-forward-s$seed" $((2 * stage))
learn small-cmlm kd-both "both-s$seed" $stage
learn "both-s$seed" kd-forward "both-forward-s$seed" $((2 * stage))
learn "raw-s$seed" kd-both "raw-both-s$seed" $stage
learn "raw-both-s$seed" kd-forward "raw-both-forward-s$seed" $stage

measure ar-forward ar-forward-test
for schedule in forward raw-forward both-forward raw-both-forward; do
    for passes in 4 10; do
        measure "$schedule-s$seed" "$schedule-s$seed-test-$passes" --set decoding.method=mask-predict \
            --set decoding.iterations="$passes" --set decoding.beams=3
    done
done
