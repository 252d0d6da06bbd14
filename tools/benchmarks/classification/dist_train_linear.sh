#!/usr/bin/env bash
# Train and evaluate a linear classifier on a pretraining checkpoint's frozen features.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
