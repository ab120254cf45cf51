#!/usr/bin/env bash
# The whole of ketchup as a dozen commands; run it again and everything is already done.
set -euo pipefail
cd "$(dirname "$0")"

ketchup corpus --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup cache-teacher
ketchup seqkd
ketchup shrink
ketchup distill --objective kl --name kl-student \
    --set updates=450 --set dropout=0 \
    --set optimizer.name=adafactor --set optimizer.learning_rate=1e-2 --set optimizer.warmup=30
ketchup distill --k 4 --from kl-student --name ketchup-student \
    --set updates=40 --set validation.every=20 --set optimizer.warmup=5

for model in teacher kl-student ketchup-student; do
    ketchup generate --model "$model" --name "$model-test"
    ketchup score --generations "$model-test" --name "$model-scores"
done

python table.py teacher kl-student ketchup-student
ketchup compare kl-student ketchup-student --name kl-or-ketchup
ketchup report teacher-scores kl-student ketchup-student kl-or-ketchup -o "$PWD/report.html"
