#!/usr/bin/env bash
# Train and evaluate a segmentation benchmark on a cluster managed by Slurm.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
