#!/usr/bin/env bash
# Evaluate a trained segmentor.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
