#!/usr/bin/env bash
# Evaluate a trained detector.
source "$(dirname "${BASH_SOURCE[0]}")/../_task.sh"
