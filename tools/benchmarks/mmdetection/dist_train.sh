#!/usr/bin/env bash
# Train and evaluate a detection benchmark from a pretraining checkpoint.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
