#!/bin/sh
# s3prl's command for ASV, test_expdir.sh EXPDIR VOXCELEB1: every saved checkpoint on the test trials.
exec python "$(dirname "$0")/../../run_downstream.py" -m evaluate -e "$1" --data "$2"
