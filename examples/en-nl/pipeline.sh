#!/usr/bin/env bash
# The whole of ketchup as a dozen commands; run it again and everything is already done.
set -euo pipefail
cd "$(dirname "$0")"

ketchup corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup cache-teacher
ketchup seqkd
ketchup shrink
ketchup distill --objective kl --name kl-student
ketchup distill --k 4 --from kl-student --name ketchup-student

for model in teacher kl-student ketchup-student; do
    ketchup generate --model "$model" --name "$model-test"
    ketchup score --generations "$model-test" --name "$model-scores"
done

python table.py teacher kl-student ketchup-student
