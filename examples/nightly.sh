#!/bin/sh
# The one session of this directory, whoever else is watching it.
set -eu
sessiond run --model practice --approve --json "run npm test" > events.jsonl
sessiond ls
