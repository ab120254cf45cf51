#!/usr/bin/env bash
# How the teacher comes to be, from random weights; neither texts nor weights are shipped.
# Its corpus is under many licences. A killed run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

[ -f data/train.jsonl.gz ] || python corpus.py --words 80
ketchup corpus --config teacher.toml \
    --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup new-model --config teacher.toml
ketchup train --config teacher.toml --name summaries-teacher
