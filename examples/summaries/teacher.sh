#!/usr/bin/env bash
# How the teacher comes to be: from random weights, first reading documents, then summing them up.
# Its corpus is under many licences, so neither texts nor weights are shipped. A killed run goes on.
set -euo pipefail
cd "$(dirname "$0")"

[ -f data/train.jsonl.gz ] || python corpus.py --words 80
ketchup corpus --config teacher.toml \
    --train data/train.jsonl.gz --dev data/dev.jsonl.gz --test data/test.jsonl.gz
# the same documents as completions, behind the section of their package: a teacher that has read
ketchup corpus --config teacher.toml --train data/train.jsonl.gz --dev data/dev.jsonl.gz \
    --name documents --set 'template={section}:' --set reference_field=document --set bad_rows=skip
ketchup new-model --config teacher.toml
ketchup train --config teacher.toml --corpus documents --name summaries-reader \
    --set updates=1200 --set validation.metric=loss --set validation.every=300
ketchup train --config teacher.toml --student summaries-reader --name summaries-teacher \
    --set updates=3600
