#!/usr/bin/env bash
# How the teacher comes to be, from random weights; neither texts nor weights are shipped.
# Its corpus is under many licences. A killed run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")"

[ -f data/train.jsonl.gz ] || python corpus.py --words 80

ketchup corpus --config teacher.toml \
    --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup new-model --config teacher.toml --corpus summaries --name summaries-random
# first it reads whole documents, of whose words one in ten would be learnt from otherwise
ketchup corpus --config reader.toml \
    --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
ketchup train --config reader.toml --name summaries-reader
ketchup train --config teacher.toml --name summaries-teacher
