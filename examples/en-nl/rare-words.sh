#!/usr/bin/env bash
# Rare words and a student that fills in: data of both directions, raw -> bidirectional -> forward.
#
# pipeline.sh first: both kinds of student start from its KL student, and share its corpus.
#
# Run it again and what is done is not done twice; a killed run goes on from its checkpoint. What came
# of it, and how long it took, is in docs/log.md.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1

run() { local stage=$1; shift; ketchup "$stage" --config rare-words.toml "$@"; }

learn() { # student, what it reads (raw or the name of pseudo-targets), name, updates
    local from=(--pseudo-targets "$2")
    [ "$2" = raw ] && from=(--set objective.prefixes=data)
    run distill --student "$1" --objective cmlm "${from[@]}" --name "$3" --set updates="$4"
}

# a student that fills in, with all weights of the one that writes from left to right
run shrink --teacher kl-student --set architecture=cmlm --name small-cmlm

# forward text, and without a second direction: every schedule has 450 updates
run seqkd --name kd-forward
learn small-cmlm raw cmlm-raw 150
learn small-cmlm kd-forward cmlm-forward 450
learn cmlm-raw kd-forward cmlm-raw-forward 300
run distill --student kl-student --objective nll --set objective.prefixes=teacher \
    --set objective.label_smoothing=0.1 --pseudo-targets kd-forward --name ar-forward \
    --set updates=450

# the backward teacher: the same student, trained on the corpus changed over; text of both directions
run corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz \
    --prompt-field tgt --reference-field src --set 'languages=["nl","en"]' --name nl-en
run train --student kl-student --corpus nl-en --name backward-teacher
run seqkd --direction bidirectional --backward-teacher backward-teacher \
    --set examples=4000 --name kd-both
learn cmlm-raw kd-both cmlm-raw-both 150
learn cmlm-raw-both kd-forward cmlm-raw-both-forward 150
learn small-cmlm kd-both cmlm-both 150
learn cmlm-both kd-forward cmlm-both-forward 300
