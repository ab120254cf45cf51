#!/usr/bin/env bash
# Rare words and a student that fills in: data of both directions, raw -> bidirectional -> forward.
#
# Run it again and what is done is not done twice; a killed run goes on from its checkpoint. What came
# of it, and how long it took, is in docs/log.md.
set -euo pipefail
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1

run() { local stage=$1; shift; ketchup "$stage" --config rare-words.toml "$@"; }

files=(--train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz)
filling=(--set decoding.method=mask-predict --set decoding.iterations=4 --set decoding.beams=3)

learn() { # student, pseudo-targets, name, updates
    run distill --student "$1" --objective cmlm --pseudo-targets "$2" --name "$3" \
        --set updates="$4" --set validation.examples=50
}

# the corpus, and the same with prompt and reference changed over for the backward teacher
run corpus "${files[@]}" --prompt-field src --reference-field tgt --name en-nl
run corpus "${files[@]}" --prompt-field tgt --reference-field src --set 'languages=["nl","en"]' --name nl-en

# two students of equal size from the shipped teacher, and the backward teacher
run shrink --set encoder=3 --set decoder=1 --name small
run shrink --set encoder=3 --set decoder=1 --set architecture=cmlm --name small-cmlm
run train --student small --corpus nl-en --name backward-teacher

# data
run seqkd --name kd-forward
run seqkd --direction bidirectional --backward-teacher backward-teacher \
    --set examples=4000 --name kd-both

# the stages, with and without the second one; and the student that writes from left to right
run distill --student small-cmlm --objective cmlm --set objective.prefixes=data --name cmlm-raw
learn cmlm-raw kd-both cmlm-raw-both 150
learn cmlm-raw-both kd-forward cmlm-raw-both-forward 150
learn cmlm-raw kd-forward cmlm-raw-forward 300
run distill --student small --objective nll --set objective.label_smoothing=0.1 \
    --pseudo-targets kd-forward --name ar-forward --set updates=300

run generate --model ar-forward --set examples=300 --name ar-forward-test
for model in cmlm-raw cmlm-raw-both; do
    run generate --model "$model" "${filling[@]}" --set examples=300 --name "$model-test"
done
for model in ar-forward cmlm-raw cmlm-raw-both; do
    run score --generations "$model-test" --set 'metrics=["bleu","chrf","words"]' \
        --set 'frequency_buckets=[1,5,20,100]' --name "$model-scores"
done
