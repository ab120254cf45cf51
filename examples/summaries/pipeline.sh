#!/usr/bin/env bash
# A decoder-only pair from its index to scored summaries; run it again and all is already done.
# `teacher.sh` has to run first: neither texts nor weights are shipped.
set -euo pipefail
cd "$(dirname "$0")"

ketchup corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup cache-teacher
ketchup seqkd
ketchup shrink
ketchup distill --objective kl --name kl-student \
    --set updates=450 --set dropout=0 --set optimizer.learning_rate=1e-3
ketchup distill --k 4 --from kl-student --name ketchup-student \
    --set updates=40 --set validation.every=20 --set optimizer.warmup=5

for model in summaries-teacher kl-student ketchup-student; do
    ketchup generate --model "$model" --name "$model-test"
    ketchup score --generations "$model-test" --name "$model-scores"
done

python figures.py scores summaries-teacher kl-student ketchup-student
