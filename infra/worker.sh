#!/bin/sh
# A worker of the pool `unlabeled`, in a clone of its own, which is made if it is not there.
# Environment: WORKSPACE (folder), UNLABELED_REPOSITORY, and what every client has (`native.py env`).
set -eu
mkdir -p "$WORKSPACE"
cd "$WORKSPACE"
if [ ! -d .git ]; then
    git clone --quiet "${UNLABELED_REPOSITORY:?set it in infra/.env}" .
fi
export PYTHONPATH="$WORKSPACE"   # the clone's code, whatever is installed
exec prefect worker start --pool unlabeled --type process
