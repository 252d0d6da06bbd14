#!/usr/bin/env bash
# Train and evaluate a detection benchmark on a cluster managed by Slurm.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
